"""Between text and tokens: what the tokenizer, its chat template and the generation settings say decides.

Prompt and completion are tokenized apart, so that completions can share their prompt, in the way that comes nearest to
the whole text tokenized at once: a completion's tokens are what it adds to those of the prompt before it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property, lru_cache
from typing import Any

from overopt.errors import UserError
from overopt.tasks.base import Joint, Message, PromptStyle, messages_of, prompt_and_joint
from overopt.types import Completion, Preference, PromptRecord

ANCHOR = "x"
"""Any text that ends in a letter."""
MARK = "zqx"
"""What an assistant says where a template is asked how it writes an assistant's turn."""
NEVER_DROPPED = ("tools", "tool_calls")
"""What a template that does not know it would silently leave out."""
ASKS_TIME = "strftime_now"
"""The function by which a template reads the clock."""
DIRECTIVES = [f"%{flag}{letter}" for flag in ("", "-") for letter in "aAbBcdefGHIjmMpSuUVwWxXyYzZ"]
"""What may stand in its format."""


@dataclass(frozen=True)
class Turn:
    """How a chat template writes an assistant's turn: `opening`, `lead`, the content, `gap`, the token `end`."""

    opening: str = ""
    """A whole prompt, up to where the assistant is to answer."""
    lead: str = ""
    gap: str = ""
    end: int | None = None
    """None: no token that is known follows the content."""
    rest: str = ""
    """What follows `end`."""


@dataclass(frozen=True)
class Place:
    """Where a completion begins."""

    before: str
    """The prompt's text."""
    joint: Joint
    near: str
    """A text after which the tokenizer does as after `before`, the same for many prompts."""


@dataclass(frozen=True)
class Codec:
    """A tokenizer with a prompt style (see `tasks/base.py`), and the tokens at which its model stops.

    UserError where a chat template is none, or refuses a record: with the record's place and the template's words.
    """

    tokenizer: Any
    prompt_style: PromptStyle
    stops: frozenset[int] = frozenset()
    """Beside the tokenizer's EOS and the template's end of a turn."""
    known_tokens: int | None = None
    """Tokens that the model knows; None: as many as the tokenizer."""
    clock: datetime | None = None
    """The time that a template is told which asks for it, local time; None: the time at which it asks."""
    _spaces: dict[str, str] = field(default_factory=dict, init=False, compare=False, repr=False)

    @classmethod
    def of(cls, model: Any, prompt_style: PromptStyle, clock: datetime | None) -> Codec:
        """The codec of a model; from here on the model stops where the codec says that completions end."""
        codec = cls(model.tokenizer, prompt_style, model.end_ids, model.known_tokens, clock)
        model.end_ids = codec.end_ids
        return codec

    def __post_init__(self) -> None:
        if self.prompt_style == "chat_template":
            if not self.tokenizer.chat_template:
                raise UserError("task.prompt_style: the model's tokenizer has no chat template; use prompt_style: raw")
            _ = self._turn  # a template that is none is said now, not at the first record

    # --- What the rest of the program asks

    def prompt(self, record: PromptRecord | Preference) -> list[int]:
        """The tokens of the prompt, up to where the completion begins."""
        ids = list(self._start(self._place(record).before, record.place))
        front = [] if self.prompt_style == "chat_template" else self._front  # a template writes it itself
        return self._known(ids if ids[: len(front)] == front else front + ids, record.place)

    def completion(self, completion: Completion, record: PromptRecord | Preference | None = None) -> list[int]:
        """The tokens of the completion after the record's prompt, with the end of the turn if it ended.

        Without a record: after a prompt that ends in no white space, or where the template has the assistant answer.
        """
        place, text, ending = self._place(record), completion.text, []
        if completion.ended:
            text, own = self._without_end(text)
            ending = [self.end_id if own is None else own]
        gap = self._turn.gap if completion.ended and text == completion.text else ""
        where = "" if record is None else record.place
        ids = self._after(place.before, place.joint.join(text) + gap, where) if text else []
        if text[:1].isspace() and not self._part(ids, place).startswith(text):
            # A token before it swallows white space; behind a letter it stays, if the tokenizer knows any.
            kept = self._after(ANCHOR, self._spaces_near(place) + place.joint.join(text) + gap, where)
            ids = kept if self._part(kept, place).startswith(text) else ids
        return self._known(ids + ending, where)

    def _known(self, ids: list[int], place: str) -> list[int]:
        """Tokens that the model has rows for: UserError where one was added and the model not resized."""
        beyond = [i for i in ids if self.known_tokens is not None and i >= self.known_tokens]
        if beyond:
            token = self.tokenizer.convert_ids_to_tokens(beyond[0])
            raise UserError(
                f"{place or 'a text'}: the tokenizer makes {token!r} token {beyond[0]}, and the model knows "
                f"{self.known_tokens} tokens of the tokenizer's {len(self.tokenizer)}: resize the model "
                "(resize_token_embeddings) and save it"
            )
        return ids

    def decode(self, ids: Sequence[int], record: PromptRecord | Preference | None = None) -> Completion:
        """The completion that a row of sampled tokens is, its end included where it ended; inverts `completion`."""
        ended = len(ids) > 0 and ids[-1] in self.end_ids
        text = self._part(ids[:-1] if ended else ids, self._place(record))
        return Completion(text.removesuffix(self._turn.gap) if ended else text, ended)

    @cached_property
    def end_id(self) -> int:
        """The token in which completions to be learnt end."""
        end: int = self.tokenizer.eos_token_id if self._turn.end is None else self._turn.end
        return end

    @cached_property
    def end_ids(self) -> frozenset[int]:
        """The tokens that end a completion."""
        return self.stops | {self.tokenizer.eos_token_id, self.end_id}

    @cached_property
    def after_end(self) -> list[int]:
        """What a template writes behind the end of the last turn: no policy samples it, but classifiers read it."""
        return self._encode(self._turn.rest) if self._turn.rest else []

    # --- Where a completion begins, and how it ends

    def _place(self, record: PromptRecord | Preference | None) -> Place:
        chat = self.prompt_style == "chat_template"
        if record is None:
            return Place(self._turn.opening or ANCHOR, self._joint, self._turn.opening or ANCHOR)
        text = record.prompt
        if chat:
            messages = messages_of(record)
            continued = messages[-1]["role"] == "assistant"
            text = self._render(messages, record, continue_final_message=continued, add_generation_prompt=not continued)
            if not continued:
                return Place(text, self._joint, self._turn.opening or ANCHOR)
        before, joint = prompt_and_joint(text, "" if chat else " ")
        return Place(before, joint, ANCHOR + before[-1:])

    @cached_property
    def _joint(self) -> Joint:
        lead = self._turn.lead
        return Joint(" ") if self.prompt_style == "raw" else Joint(lead, own=not lead.strip())

    @cached_property
    def _turn(self) -> Turn:
        """How the template writes a turn: seen on a question and its answer."""
        if self.prompt_style == "raw":
            return Turn()
        from jinja2 import TemplateSyntaxError

        self._source()  # named templates without a default
        for before in ([], [{"role": "system", "content": ANCHOR}]):
            question = [*before, {"role": "user", "content": ANCHOR}]
            try:
                opening = self._render(question, add_generation_prompt=True)
                whole = self._render([*question, {"role": "assistant", "content": MARK}])
            except UserError as error:
                if isinstance(error.__cause__, TemplateSyntaxError):
                    raise
                continue  # it asks for something else, and may find it in the records
            return self._turn_of(opening, whole)
        return Turn()

    def _turn_of(self, opening: str, whole: str) -> Turn:
        head, _, tail = whole.rpartition(MARK)
        lead = head.removeprefix(opening) if head.startswith(opening) else ""
        known = {**self._end_texts(self.stops), **self.tokenizer.get_added_vocab()}
        found = max((text for text in known if tail.lstrip().startswith(text)), key=len, default=None)
        if found is None or not head:
            return Turn(opening, lead)
        gap, rest = tail[: len(tail) - len(tail.lstrip())], tail.lstrip().removeprefix(found)
        if self._encode(MARK + gap + found) == [*self._encode(MARK), known[found]]:
            gap = ""  # the token swallows it
        return Turn(opening, lead, gap, known[found], rest)

    def _end_texts(self, ids: frozenset[int]) -> dict[str, int]:
        texts = {self.tokenizer.decode([i]).strip(): i for i in sorted(ids)}
        return {text: i for text, i in texts.items() if text}

    @cached_property
    def _ends(self) -> dict[str, int]:
        return self._end_texts(self.end_ids)

    def _without_end(self, text: str) -> tuple[str, int | None]:
        """The text up to an end that it carries itself, and that end's token, if it does; of several ends the first."""
        own = None
        while found := next((end for end in self._ends if text.rstrip().endswith(end)), None):
            text, own = text.rstrip().removesuffix(found), self._ends[found]
        return text, own

    # --- The tokenizer

    def _encode(self, text: str, place: str = "") -> list[int]:
        with _called(f"{place or 'a text'}: the tokenizer cannot read it"):
            ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False)
        return ids

    @cached_property
    def _front(self) -> list[int]:
        """What the tokenizer puts before every text: BOS, if anything."""
        bare, full = self._encode(ANCHOR), self.tokenizer.encode(ANCHOR)
        starts = (i for i in range(len(full)) if full[i : i + len(bare)] == bare)
        return full[: next(starts, 0)]

    @cached_property
    def _start(self) -> Callable[[str, str], list[int]]:
        """`_encode` with a memory: the completions of a record stand behind the same prompt."""
        return lru_cache(maxsize=4)(self._encode)

    def _after(self, before: str, text: str, place: str = "") -> list[int]:
        """What a text adds to the tokens of another; where tokens would span both, what it adds to a neutral one."""
        for context in (before, ANCHOR if text[:1].isspace() else "\n"):
            start, whole = self._start(context, place), self._encode(context + text, place)
            if whole[: len(start)] == start:
                return whole[len(start) :]
        return self._encode(text, place)

    def _part(self, ids: Sequence[int], place: Place) -> str:
        """The text of a completion's tokens, without the joint and without the space of a tokenizer's own."""
        return place.joint.remove(self._text(ids).removeprefix(self._spaces_near(place)))

    @cached_property
    def _anchor(self) -> tuple[list[int], str]:
        ids = self._encode(ANCHOR)
        return ids, self._decode(ids)

    def _text(self, ids: Sequence[int]) -> str:
        """The text that tokens add to another: alone, their first space may be lost."""
        start, head = self._anchor
        whole = self._decode([*start, *ids])
        return whole[len(head) :] if whole.startswith(head) else self._decode(ids)

    def _decode(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(ids, clean_up_tokenization_spaces=False))

    def _spaces_near(self, place: Place) -> str:
        """White space that the tokenizer itself puts between such a prompt and what follows."""
        if place.near not in self._spaces:
            text = self._text(self._after(place.near, ANCHOR))
            self._spaces[place.near] = text[: len(text) - len(text.lstrip())]
        return self._spaces[place.near]

    # --- The template

    def _source(self, tools: Any = None) -> str:
        with _called(f"{self.tokenizer.name_or_path or 'model'}: its chat template cannot be used"):
            source: str = self.tokenizer.get_chat_template(tools=tools)
        return source

    def _render(self, messages: Sequence[Message], record: PromptRecord | Preference | None = None, **how: bool) -> str:
        """The conversation as the template writes it; nowhere else is a template called."""
        if record is None:
            called, tools = f"{self.tokenizer.name_or_path or 'model'}: its chat template cannot be used", None
        else:
            called = f"{record.place or record.prompt_id}: the model's chat template refuses the record"
            tools = record.meta.get("tools")
        with _called(called):
            tools = json.loads(tools) if isinstance(tools, str) else tools
            source = self._source(tools)
            calls = any(message.get("tool_calls") for message in messages)
            for name, value in zip(NEVER_DROPPED, (tools, calls), strict=True):
                if value and name not in source:
                    raise UserError(f"{called}: it has no place for {name}; leave such records out")
            # Parquet writes a field of one message as null in all the others.
            whole = [{k: v for k, v in message.items() if v is not None or k == "content"} for message in messages]
            if self.clock is not None and ASKS_TIME in source:
                source = _told_the_time(self.clock) + source
            text: str = self.tokenizer.apply_chat_template(
                whole, tools=tools or None, chat_template=source, tokenize=False, **how
            )
        return text


def _told_the_time(clock: datetime) -> str:
    """What defines `strftime_now` anew before a template; as its argument a function would not reach it."""
    values = [("%%", "\0"), *((directive, clock.strftime(directive)) for directive in DIRECTIVES), ("\0", "%")]
    replaced = "".join(f".replace({directive!r}, {value!r})" for directive, value in values)
    return (
        f"{{% macro {ASKS_TIME}(format) %}}{{{{ format{replaced} }}}}{{% endmacro %}}\n"  # a block takes its line end
    )


@contextmanager
def _called(what: str) -> Iterator[None]:
    """Around calls of what is the model's: whatever it raises is said in its own words."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{what}: {error or type(error).__name__}") from error


def end_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """The tokens at which `generate` of transformers stops, and the tokenizer's EOS."""
    listed = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    if listed is None:
        listed = getattr(model.config, "eos_token_id", None)
    ids = listed if isinstance(listed, list | tuple) else [listed]
    if wrong := [i for i in ids if i is not None and not isinstance(i, int)]:
        raise UserError(
            f"{tokenizer.name_or_path or 'model'}: eos_token_id of its generation_config.json or config.json holds "
            f"{wrong[0]!r}; it must be a token's number, or a list of them"
        )
    return frozenset({tokenizer.eos_token_id, *ids} - {None})


def word_tokenizer(vocabulary: Sequence[str]) -> Any:
    """A tokenizer whose tokens are whitespace-separated words; the first two are padding and end of sequence."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pad, eos = vocabulary[:2]
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token=pad))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token=pad, eos_token=eos, unk_token=pad)
