"""Readers: files of rows, and the forms in which the field writes a pair or a prompt down.

`files` turns a file into rows with their places; each form turns a row into an `Example`, or drops and counts it.
Adding a form is one module with `matches` and `read`, and its name in `FORMATS`. Tools and labels may stand beside any.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Protocol

from overopt.errors import UserError
from overopt.tasks.formats import conversation, generic, hh, instruction, labelled, llmbar, ranking, sharegpt
from overopt.tasks.formats.example import Example, Row
from overopt.tasks.formats.extras import read_extras
from overopt.tasks.formats.files import read_rows
from overopt.tasks.formats.labelled import paired
from overopt.types import Dropped

Format = Literal["auto", "generic", "hh", "llmbar", "ranking", "messages", "sharegpt", "alpaca"]


class Form(Protocol):
    """What a module of this package offers."""

    def matches(self, row: Row) -> bool:
        """Whether a row is written in this form; asked of the first row of a file whose format is `auto`."""
        ...

    def read(self, row: Row, dropped: Dropped) -> Example | None:
        """The row's example; None if it was dropped, and then the reason is counted. UserError if it is malformed."""
        ...


FORMATS: dict[str, Any] = {
    "hh": hh,
    "llmbar": llmbar,
    "ranking": ranking,
    "sharegpt": sharegpt,
    "messages": conversation,
    "alpaca": instruction,
    "generic": generic,
}
"""In the order in which `auto` asks; `generic` matches everything."""


def detect(row: Row) -> Form:
    form: Form = next(form for form in FORMATS.values() if form.matches(row))
    return form


LONE_SURROGATE = re.compile("[\ud800-\udfff]")
Seen = Callable[[str, str], object]
"""What training makes of a completion after its prompt: two of which it makes the same are no pair."""


def unchanged(completion: str, prompt: str) -> str:
    return completion


def identical(example: Example, seen: Seen) -> bool:
    """Whether two ranked completions are one to training; blank ones are."""
    ranked = [seen(text, example.prompt) if text.strip() else None for text in example.ranked]
    return len(set(ranked)) < len(ranked)


def _flaw(example: Example, seen: Seen) -> str | None:
    """Why an example that was read is of no use."""
    turns = [turn.get("content") for turn in example.messages or ()]
    texts = [example.prompt, example.reference, example.rejected, *example.between, *turns]
    if any(LONE_SURROGATE.search(text) for text in texts if text is not None and not text.isascii()):
        return "text with half a surrogate pair"  # JSON can spell it, no tokenizer takes it
    if not example.prompt.strip():
        return "empty prompt"
    if identical(example, seen):
        return "two ranked responses are identical" if example.between else "chosen and rejected are identical"
    return None


def _examples(path: Path, form: Form | None, dropped: Dropped, seen: Seen) -> Iterator[Example]:
    for place, row in read_rows(path, dropped):
        try:
            extras = read_extras(row)
            form = form or detect(row)
            example = form.read(row, dropped)
        except UserError as error:
            raise UserError(f"{place}: {error}") from None
        if example is None:
            continue  # the form has counted it
        flaw = _flaw(example, seen)
        if flaw is None:
            good = None if example.ranked or example.reference is None else labelled.label(row)
            yield replace(example, place=place, desirable=good, columns={**example.columns, **extras})
        else:
            dropped.add(flaw)


def read_examples(
    path: Path, format: Format, dropped: Dropped, limit: int | None = None, seen: Seen = unchanged
) -> list[Example]:
    """The usable examples of a file (or of a folder's, or a pattern's), in its order; at least one, or a UserError.

    At most `limit` of them.
    """
    form = None if format == "auto" else FORMATS[format]
    examples = list(islice(_examples(path, form, dropped, seen), limit))
    if not examples:
        reasons = "; ".join(f"{count} x {reason}" for reason, count in dropped.reasons.items())
        raise UserError(f"{path}: no usable record ({f'dropped: {reasons}' if reasons else 'the file has no records'})")
    return examples


__all__ = ["FORMATS", "Example", "Form", "Format", "detect", "identical", "paired", "read_examples"]
