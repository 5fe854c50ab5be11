"""Text to token ids and back, as a model's tokenizer, chat template and generation settings decide.

Every prompt and every completion passes here. The two are encoded apart, so that the completions of one prompt share
its computation, yet together they are the ids of the whole text wherever that is possible: the ids of a completion are
those that the text `prompt + completion` has beyond the ids of the text `prompt` (`Codec._added_ids` says what
happens where one token would span both). The words used below:

- BOS: the tokens that a tokenizer puts before every text. A raw prompt gets them once, even if the text begins with
  them already. A chat template writes its own, so none are added there.
- Boundary: where a prompt ends and its completion begins.
- Joint: the text that stands at the boundary and belongs to neither side: in the raw style one space between two
  words, in a chat what the template writes between asking for an answer and the answer (often nothing).
- Turn: an assistant's message as the template writes it: `opening` (the prompt), `lead`, the content, `gap`, the token
  `end`, and `rest` (`chat_template.Turn`).
- End: a completion that ended carries one more token, the template's end of a turn, or EOS where it has none. Sampling
  stops at this token, at EOS, and at every other token at which `generate` of transformers would stop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property, lru_cache
from typing import Any

from overopt.errors import UserError
from overopt.models.chat_template import PROBE_ANSWER, ChatTemplate, Turn, error_context
from overopt.models.contexts import word_end
from overopt.tasks.base import Joint, PromptStyle, messages_of, prompt_and_joint
from overopt.types import Completion, Preference, PromptRecord

ANCHOR = "x"
"""A neutral text: it ends in a letter, so no tokenizer merges it with white space or a word that follows."""
RECORDS_PER_BATCH = 256
"""Records whose texts go to the tokenizer in one call, which encodes them on all cores."""


@dataclass(frozen=True)
class Boundary:
    """Where a record's completion begins."""

    before: str
    """The prompt's text, all of it."""
    joint: Joint
    similar: str
    """A short text after which the tokenizer treats white space as it does after `before`; shared by many prompts."""


@dataclass(frozen=True)
class Codec:
    """Encodes prompts and completions in one prompt style (see `tasks/base.py`), and decodes samples.

    UserError names the record's place and repeats the library's words where a tokenizer cannot read a text, where a
    chat template is invalid or refuses a record, and where a token has no row in the model.
    """

    tokenizer: Any
    prompt_style: PromptStyle
    stops: frozenset[int] = frozenset()
    """Tokens at which the model stops, beside the tokenizer's EOS and the template's end of a turn."""
    known_tokens: int | None = None
    """The model has embeddings for ids below this; None: for every id of the tokenizer."""
    clock: datetime | None = None
    """The local time that a template which asks is told; None: the time at which it asks."""
    prepend_bos: bool = False
    """Whether every prompt begins with BOS, also where the tokenizer or the template puts none there."""
    _spaces: dict[str, str] = field(default_factory=dict, init=False, compare=False, repr=False)
    _known_ids: dict[str, list[int]] = field(default_factory=dict, init=False, compare=False, repr=False)
    """Ids of the texts of the last batch."""
    _last: list[Any] = field(default_factory=lambda: [None, None], init=False, compare=False, repr=False)
    """The last record with its boundary: the completions of a record come one after another."""

    @classmethod
    def of(cls, model: Any, prompt_style: PromptStyle, clock: datetime | None) -> Codec:
        """The codec of a model. It adds the template's end of a turn to the tokens at which the model stops."""
        codec = cls(model.tokenizer, prompt_style, model.end_ids, model.known_tokens, clock)
        model.end_ids = codec.end_ids
        return codec

    def __post_init__(self) -> None:
        if self.prompt_style == "chat_template":
            if not self.tokenizer.chat_template:
                raise UserError("task.prompt_style: the model's tokenizer has no chat template; use prompt_style: raw")
            _ = self._turn  # an invalid template is reported now, not at the first record
        if self.prepend_bos and self.tokenizer.bos_token_id is None:
            raise UserError("prepend_bos: the model's tokenizer names no token for the beginning of a text (bos_token)")

    # --- What the rest of the program calls

    def encode(
        self,
        records: Sequence[PromptRecord | Preference | None],
        completions: Sequence[Sequence[Completion]] = (),
    ) -> Iterator[tuple[list[int], list[list[int]]]]:
        """For each record, the ids of its prompt and of each of its completions (of none, where none are given).

        A prompt's ids end where the completion begins. A completion's ids end in the end of the turn if it ended.
        Without a record (None), completions are those after a prompt without white space at its end, or after any
        question in a chat.
        """
        completions = completions or [[]] * len(records)
        for start in range(0, len(records), RECORDS_PER_BATCH):
            part = slice(start, start + RECORDS_PER_BATCH)
            yield from self._encode_batch(records[part], completions[part])

    def prompt(self, record: PromptRecord | Preference) -> list[int]:
        """The ids of one prompt, as `encode` returns them."""
        return next(self.encode([record]))[0]

    def completion(self, completion: Completion, record: PromptRecord | Preference | None = None) -> list[int]:
        """The ids of one completion, as `encode` returns them."""
        return next(self.encode([record], [[completion]]))[1][0]

    def decode(self, ids: Sequence[int], record: PromptRecord | Preference | None = None) -> Completion:
        """The text of sampled ids, and whether they ended; inverts the encoding of a completion."""
        ended = len(ids) > 0 and ids[-1] in self.end_ids
        text = self._completion_text(ids[:-1] if ended else ids, self._boundary(record))
        return Completion(text.removesuffix(self._turn.gap) if ended else text, ended)

    @cached_property
    def end_id(self) -> int:
        """The token that ends the completions of the training data."""
        end: int = self._turn_ends[self._turn.end] if self._turn.end else self.tokenizer.eos_token_id
        return end

    @cached_property
    def end_ids(self) -> frozenset[int]:
        """All tokens that end a completion."""
        return self.stops | {self.tokenizer.eos_token_id, self.end_id}

    @cached_property
    def ids_after_end(self) -> list[int]:
        """The ids that the template writes after the end of the last turn. No policy samples them; classifiers that
        were trained on whole conversations read them.
        """
        return self._added_ids(self._turn.end, self._turn.rest) if self._turn.rest else []  # alone it may get a space

    # --- Encoding

    def _encode_batch(
        self, records: Sequence[PromptRecord | Preference | None], completions: Sequence[Sequence[Completion]]
    ) -> Iterator[tuple[list[int], list[list[int]]]]:
        boundaries = [self._boundary(record) for record in records]
        prompts = [boundary.before for boundary in boundaries]
        self._encode_all(prompts)
        contexts = [self._context(text) for text in prompts]
        rows = [
            [context + boundary.joint.join(text) + gap for text, gap, _ in map(self._parts, texts)]
            for texts, boundary, context in zip(completions, boundaries, contexts, strict=True)
        ]
        self._encode_all([*prompts, *contexts, *(text for texts in rows for text in texts)])
        for record, texts, boundary, context in zip(records, completions, boundaries, contexts, strict=True):
            place = "" if record is None else record.place
            ids = [self._completion_ids(text, boundary, context, place) for text in texts]
            yield [] if record is None else self._prompt_ids(boundary.before, place), ids

    def _prompt_ids(self, text: str, place: str) -> list[int]:
        ids = self._encode(text, place)
        bos = [] if self.prompt_style == "chat_template" else self._bos  # a template writes its own
        if self.prepend_bos:
            bos = [self.tokenizer.bos_token_id]
        return self._check_known(ids if ids[: len(bos)] == bos else bos + ids, place)

    def _completion_ids(self, completion: Completion, boundary: Boundary, context: str, place: str) -> list[int]:
        text, gap, ending = self._parts(completion)
        ids = self._added_ids(context, boundary.joint.join(text) + gap, place) if text else []
        if text[:1].isspace() and not self._completion_text(ids, boundary).startswith(text):
            # The prompt's last token swallows white space. After a letter it stays, if the tokenizer has any.
            kept = self._added_ids(ANCHOR, self._spaces_after(boundary) + boundary.joint.join(text) + gap, place)
            ids = kept if self._completion_text(kept, boundary).startswith(text) else ids
        return self._check_known(ids + ending, place)

    def _parts(self, completion: Completion) -> tuple[str, str, list[int]]:
        """A completion's text without an end that it carries itself, the gap after it, and the token that ends it.

        A text that carries its own end keeps that token, and the white space before it.
        """
        if not completion.ended:
            return completion.text, "", []
        text, own_end = completion.text, None
        while found := next((end for end in self._end_texts if text.rstrip().endswith(end)), None):
            text, own_end = text.rstrip().removesuffix(found), self._end_texts[found]
        gap = self._turn.gap if text == completion.text else ""
        return text, gap, [self.end_id if own_end is None else own_end]

    def _added_ids(self, context: str, text: str, place: str = "") -> list[int]:
        """The ids that `text` adds to those of `context`.

        Where a token would span both, what the text adds to a neutral context: a letter, or a line end before a word.
        """
        for before in (context, ANCHOR if text[:1].isspace() else "\n"):
            start, whole = self._encode(before, place), self._encode(before + text, place)
            if whole[: len(start)] == start:
                return whole[len(start) :]
        return self._encode(text, place)

    def _context(self, prompt: str) -> str:
        """The shortest end of a prompt after which a completion has the ids that it has after the whole prompt.

        A tokenizer cuts a text at its special tokens before anything else, so what stands before one changes nothing
        behind it. A chat's prompt ends in `<|im_start|>assistant` or the like: its completions are encoded after that,
        and not after the whole conversation each time. Where no such token is found, the prompt is cut before a word
        (`models/contexts.py`) or stays whole.
        """
        if prompt not in self._known_ids:
            return prompt
        if self._cutting_token is None:
            end, token_ids = self._word_end(prompt), []
        else:
            token, token_id = self._cutting_token
            end, token_ids = prompt[max(prompt.rfind(token), 0) :], [token_id]
        ids = self._encode_again(end)
        cut = ids[: len(token_ids)] == token_ids and self._known_ids[prompt][-len(ids) :] == ids
        return end if cut else prompt

    @cached_property
    def _word_end(self) -> Callable[[str], str]:
        return word_end(self.tokenizer)

    @cached_property
    def _cutting_token(self) -> tuple[str, int] | None:
        """The last special token that the template writes before an answer, if a text may be cut before it."""
        opening, found = self._turn.opening, (-1, "", 0)
        added = self.tokenizer.added_tokens_decoder if hasattr(self.tokenizer, "backend_tokenizer") else {}
        for token_id, token in added.items():
            changes_what_is_before = token.lstrip or token.single_word or token.normalized
            if token.special and not changes_what_is_before and token.content.strip():
                found = max(found, (opening.rfind(token.content), token.content, token_id))
        return found[1:] if found[0] >= 0 else None

    def _check_known(self, ids: list[int], place: str) -> list[int]:
        """The ids; UserError where a token was added to the tokenizer and the model was not resized."""
        beyond = [i for i in ids if self.known_tokens is not None and i >= self.known_tokens]
        if beyond:
            token = self.tokenizer.convert_ids_to_tokens(beyond[0])
            raise UserError(
                f"{place or 'a text'}: the tokenizer makes {token!r} token {beyond[0]}, and the model knows "
                f"{self.known_tokens} tokens of the tokenizer's {len(self.tokenizer)}: resize the model "
                "(resize_token_embeddings) and save it"
            )
        return ids

    # --- The tokenizer

    def _encode_all(self, texts: Sequence[str]) -> None:
        """Encode texts by one call, for `_encode` to find; earlier texts that are not among them are forgotten."""
        ids = {text: self._known_ids[text] for text in texts if text in self._known_ids}
        new = [text for text in dict.fromkeys(texts) if text not in ids]
        self._known_ids.clear()
        if new:
            try:
                ids |= zip(new, self.tokenizer(new, add_special_tokens=False)["input_ids"], strict=True)
            except Exception:
                return  # `_encode` says which record's text it is
        self._known_ids.update(ids)

    def _encode(self, text: str, place: str = "") -> list[int]:
        """The ids of a text as it is, without BOS."""
        if text in self._known_ids:
            return self._known_ids[text]
        with error_context(f"{place or 'a text'}: the tokenizer cannot read it"):
            ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False)
        return ids

    @cached_property
    def _encode_again(self) -> Callable[[str], list[int]]:
        """`_encode` with a memory, for short texts that recur."""
        return lru_cache(maxsize=16)(self._encode)

    @cached_property
    def _bos(self) -> list[int]:
        """The ids that the tokenizer puts before every text."""
        bare, full = self._encode(ANCHOR), self.tokenizer.encode(ANCHOR)
        starts = (i for i in range(len(full)) if full[i : i + len(bare)] == bare)
        return full[: next(starts, 0)]

    # --- Decoding

    def _completion_text(self, ids: Sequence[int], boundary: Boundary) -> str:
        """The text of a completion's ids, without the joint and without the space that a tokenizer adds by itself."""
        return boundary.joint.remove(self.text_of(ids).removeprefix(self._spaces_after(boundary)))

    def text_of(self, ids: Sequence[int]) -> str:
        """The text that ids add to a text before them: decoded alone they may lose their first space."""
        start, head = self._anchor
        whole = self._decode([*start, *ids])
        return whole[len(head) :] if whole.startswith(head) else self._decode(ids)

    @cached_property
    def _anchor(self) -> tuple[list[int], str]:
        ids = self._encode(ANCHOR)
        return ids, self._decode(ids)

    def _decode(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(ids, clean_up_tokenization_spaces=False))

    def _spaces_after(self, boundary: Boundary) -> str:
        """The white space that the tokenizer itself puts between such a prompt and a word."""
        if boundary.similar not in self._spaces:
            text = self.text_of(self._added_ids(boundary.similar, ANCHOR))
            self._spaces[boundary.similar] = text[: len(text) - len(text.lstrip())]
        return self._spaces[boundary.similar]

    # --- Where a completion begins, and how it ends

    def _boundary(self, record: PromptRecord | Preference | None) -> Boundary:
        if record is None or record is not self._last[0]:
            self._last[:] = record, self._find_boundary(record)
        boundary: Boundary = self._last[1]
        return boundary

    def _find_boundary(self, record: PromptRecord | Preference | None) -> Boundary:
        chat, opening = self.prompt_style == "chat_template", self._turn.opening or ANCHOR
        if record is None:
            return Boundary(opening, self._joint, opening)
        text = record.prompt
        if chat:
            messages = messages_of(record)
            continued = messages[-1]["role"] == "assistant"
            text = self._template.render(
                messages, record, continue_final_message=continued, add_generation_prompt=not continued
            )
            if not continued:
                return Boundary(text, self._joint, opening)
        before, joint = prompt_and_joint(text, "" if chat else " ")
        return Boundary(before, joint, ANCHOR + before[-1:])

    @cached_property
    def _joint(self) -> Joint:
        lead = self._turn.lead
        return Joint(" ") if self.prompt_style == "raw" else Joint(lead, own=not lead.strip())

    @cached_property
    def _template(self) -> ChatTemplate:
        return ChatTemplate(self.tokenizer, self.clock)

    @cached_property
    def _turn_ends(self) -> dict[str, int]:
        """The tokens that may end a turn, by their texts."""
        return {**self._texts_of(self.stops), **self.tokenizer.get_added_vocab()}

    @cached_property
    def _turn(self) -> Turn:
        """How the template writes an assistant's turn."""
        if self.prompt_style == "raw":
            return Turn()
        turn = self._template.turn(self._turn_ends)
        if turn.gap and self._encode(PROBE_ANSWER + turn.gap + turn.end) == [
            *self._encode(PROBE_ANSWER),
            self._turn_ends[turn.end],
        ]:
            return replace(turn, gap="")  # the end token swallows the white space before it
        return turn

    def _texts_of(self, ids: frozenset[int]) -> dict[str, int]:
        """The ids by their texts, without those whose text is blank."""
        texts = {self.tokenizer.decode([i]).strip(): i for i in sorted(ids)}
        return {text: i for text, i in texts.items() if text}

    @cached_property
    def _end_texts(self) -> dict[str, int]:
        return self._texts_of(self.end_ids)


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
