"""Readers: files of rows, and the forms in which the field writes a pair or a prompt down.

`files` turns a file into rows with their places; each form turns a row into an `Example`, or drops and counts it.
Adding a form is one module with `matches` and `read`, and its name in `FORMATS`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Protocol

from overopt.errors import UserError
from overopt.tasks.formats import generic, hh, llmbar, ranking
from overopt.tasks.formats.example import Example, Row
from overopt.tasks.formats.files import read_rows
from overopt.types import Dropped

Format = Literal["auto", "generic", "hh", "llmbar", "ranking"]


class Form(Protocol):
    """What a module of this package offers."""

    def matches(self, row: Row) -> bool:
        """Whether a row is written in this form; asked of the first row of a file whose format is `auto`."""
        ...

    def read(self, row: Row, dropped: Dropped) -> Example | None:
        """The row's example; None if it was dropped, and then the reason is counted. UserError if it is malformed."""
        ...


FORMATS: dict[str, Any] = {"hh": hh, "llmbar": llmbar, "ranking": ranking, "generic": generic}
"""In the order in which `auto` asks; `generic` matches everything."""


def detect(row: Row) -> Form:
    form: Form = next(form for form in FORMATS.values() if form.matches(row))
    return form


def _flaw(example: Example) -> str | None:
    """Why an example that was read is of no use."""
    texts = [
        text for text in (example.prompt, example.reference, example.rejected, *example.between) if text is not None
    ]
    if any("\ud800" <= char <= "\udfff" for text in texts if not text.isascii() for char in text):
        return "text with half a surrogate pair"  # JSON can spell it, no tokenizer takes it
    if not example.prompt.strip():
        return "empty prompt"
    if len(set(example.ranked)) < len(example.ranked):
        return "two ranked responses are identical" if example.between else "chosen and rejected are identical"
    return None


def _examples(path: Path, form: Form | None, dropped: Dropped) -> Iterator[Example]:
    for place, row in read_rows(path, dropped):
        form = form or detect(row)
        try:
            example = form.read(row, dropped)
        except UserError as error:
            raise UserError(f"{place}: {error}") from None
        if example is None:
            continue  # the form has counted it
        flaw = _flaw(example)
        if flaw is None:
            yield example.at(place)
        else:
            dropped.add(flaw)


def read_examples(path: Path, format: Format, dropped: Dropped, limit: int | None = None) -> list[Example]:
    """The file's usable examples, at most `limit` of them, in the file's order; at least one, or a UserError."""
    examples = list(islice(_examples(path, None if format == "auto" else FORMATS[format], dropped), limit))
    if not examples:
        reasons = "; ".join(f"{count} x {reason}" for reason, count in dropped.reasons.items())
        raise UserError(f"{path}: no usable record ({f'dropped: {reasons}' if reasons else 'the file has no records'})")
    return examples


__all__ = ["FORMATS", "Example", "Form", "Format", "detect", "read_examples"]
