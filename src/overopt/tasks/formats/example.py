"""What every form is read into, and the checks on fields that the forms share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from overopt.errors import UserError

Row = dict[str, Any]
Message = dict[str, Any]
"""`role` and `content`, a text, and whatever else the file's message has; none but a call of a tool has no content."""


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt with what the row had beside it: a pair (`reference` is the chosen one), a reference, or nothing."""

    prompt: str
    """As plain text, whatever the form: it identifies the prompt and decides on which side of the split it falls."""
    reference: str | None = None
    rejected: str | None = None
    between: tuple[str, ...] = ()
    """What a ranking has between its best (`reference`) and its worst (`rejected`), from better to worse."""
    messages: tuple[Message, ...] | None = None
    """The prompt as chat messages, if the form knows its turns; None means one user turn."""
    chat_only: bool = False
    """The row itself was written as chat messages, so its prompt is no text to be used raw."""
    desirable: bool | None = None
    """Whether the reference is a good completion, where records are labelled one by one."""
    columns: Mapping[str, Any] = field(default_factory=dict)
    """The row's other fields, for functions of the user's that score completions."""
    place: str = ""
    """FILE:LINE."""

    @property
    def ranked(self) -> tuple[str, ...]:
        """All completions of a pair or a ranking, best first; empty without."""
        if self.reference is None or self.rejected is None:
            return ()
        return self.reference, *self.between, self.rejected

    def at(self, place: str) -> Example:
        return replace(self, place=place)


def field_names(row: Row) -> str:
    return ", ".join(row) or "none"


def require(row: Row, names: Sequence[str]) -> None:
    """Every field must be there: a record without one would otherwise pass as another form."""
    for name in names:
        if name not in row:
            raise UserError(f"a record without its field '{name}' (fields present: {field_names(row)})")


def text_field(row: Row, name: str) -> str:
    require(row, [name])
    if not isinstance(row[name], str):
        raise UserError(f"field '{name}' must be text, got {type(row[name]).__name__}")
    text: str = row[name]
    return text
