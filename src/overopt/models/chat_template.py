"""Conversations as a tokenizer's chat template writes them. Nowhere else is a template called."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from overopt.errors import UserError
from overopt.tasks.base import Message
from overopt.types import Preference, PromptRecord

PROBE_QUESTION, PROBE_ANSWER = "x", "zqx"
"""The conversation that shows what a template writes around an assistant's message."""
MUST_BE_RENDERED = ("tools", "tool_calls")
"""Parts of a record that a template which does not mention them would silently leave out."""
CLOCK_FUNCTION = "strftime_now"
"""The function by which a template reads the clock."""
DIRECTIVES = [f"%{flag}{letter}" for flag in ("", "-") for letter in "aAbBcdefGHIjmMpSuUVwWxXyYzZ"]
"""The directives that may stand in the format of `strftime_now`."""


@dataclass(frozen=True)
class Turn:
    """How a template writes an assistant's turn: `opening`, `lead`, the content, `gap`, `end`, `rest`.

    All are empty in the raw style, and where the template cannot render a plain question.
    """

    opening: str = ""
    """The whole prompt of one short question, up to where the assistant is to answer."""
    lead: str = ""
    """The text that a template puts before an answer, but not at the end of a prompt, such as empty thoughts."""
    gap: str = ""
    """White space between the content and the end."""
    end: str = ""
    """The text of the token that ends the turn; empty where no known token follows the content."""
    rest: str = ""
    """The text after `end`, such as the line end of ChatML."""


@dataclass(frozen=True)
class ChatTemplate:
    """A tokenizer's chat template. UserError, in the template's own words, where it is invalid or refuses a record."""

    tokenizer: Any
    clock: datetime | None
    """The local time that a template which asks is told; None: the time at which it asks."""

    def render(self, messages: Sequence[Message], record: PromptRecord | Preference | None = None, **how: bool) -> str:
        """The text of a conversation, with the record's tools; `how` goes to `apply_chat_template`."""
        called, tools = self._invalid, None
        if record is not None:
            called = f"{record.place or record.prompt_id}: the model's chat template refuses the record"
            tools = record.meta.get("tools")
        with error_context(called):
            tools = json.loads(tools) if isinstance(tools, str) else tools
            source = self._source(tools)
            calls = any(message.get("tool_calls") for message in messages)
            for name, value in zip(MUST_BE_RENDERED, (tools, calls), strict=True):
                if value and name not in source:
                    raise UserError(f"{called}: it has no place for {name}; leave such records out")
            # Parquet writes a field of one message as null in all the others.
            given = [{k: v for k, v in message.items() if v is not None or k == "content"} for message in messages]
            if self.clock is not None and CLOCK_FUNCTION in source:
                source = _clock_macro(self.clock) + source
            text: str = self.tokenizer.apply_chat_template(
                given, tools=tools or None, chat_template=source, tokenize=False, **how
            )
        return text

    def turn(self, ends: Collection[str]) -> Turn:
        """How the template writes an assistant's turn: a question is rendered without and with an answer.

        `ends` are the texts of the tokens that may end a turn.
        """
        from jinja2 import TemplateSyntaxError

        self._source()  # raises where there are several named templates and none is the default
        for system in ([], [{"role": "system", "content": PROBE_QUESTION}]):
            question = [*system, {"role": "user", "content": PROBE_QUESTION}]
            try:
                opening = self.render(question, add_generation_prompt=True)
                whole = self.render([*question, {"role": "assistant", "content": PROBE_ANSWER}])
            except UserError as error:
                if isinstance(error.__cause__, TemplateSyntaxError):
                    raise
                continue  # the template wants something that the question lacks and records may have
            head, _, tail = whole.rpartition(PROBE_ANSWER)
            lead = head.removeprefix(opening) if head.startswith(opening) else ""
            end = max((text for text in ends if tail.lstrip().startswith(text)), key=len, default="")
            if not end or not head:
                return Turn(opening, lead)
            gap = tail[: len(tail) - len(tail.lstrip())]
            return Turn(opening, lead, gap, end, tail.lstrip().removeprefix(end))
        return Turn()

    @property
    def _invalid(self) -> str:
        return f"{self.tokenizer.name_or_path or 'model'}: its chat template cannot be used"

    def _source(self, tools: Any = None) -> str:
        with error_context(self._invalid):
            source: str = self.tokenizer.get_chat_template(tools=tools)
        return source


def _clock_macro(clock: datetime) -> str:
    """A Jinja macro, put before a template, that defines `strftime_now` as the given time.

    A Python function passed as an argument would not do: transformers' own takes precedence.
    """
    values = [("%%", "\0"), *((directive, clock.strftime(directive)) for directive in DIRECTIVES), ("\0", "%")]
    replaced = "".join(f".replace({directive!r}, {value!r})" for directive, value in values)
    # The line end belongs to the block before it and is not rendered.
    return f"{{% macro {CLOCK_FUNCTION}(format) %}}{{{{ format{replaced} }}}}{{% endmacro %}}\n"


@contextmanager
def error_context(what: str) -> Iterator[None]:
    """Whatever a tokenizer or a template raises within becomes a UserError: `what`, then the library's words."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{what}: {error or type(error).__name__}") from error
