"""The common form of all data formats, and the checks of fields that they share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from overopt.errors import UserError

Row = dict[str, Any]
Message = dict[str, Any]
"""A chat message: `role`, `content` (text; may be absent from a tool call only), and the file's other keys."""


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt with a pair (`reference` is the chosen one), a ranking, a reference, or nothing."""

    prompt: str
    """The prompt as plain text in every format; it identifies the prompt and decides whether it is held out."""
    reference: str | None = None
    rejected: str | None = None
    between: tuple[str, ...] = ()
    """A ranking's completions between the best (`reference`) and the worst (`rejected`), better ones first."""
    messages: tuple[Message, ...] | None = None
    """The prompt as chat messages, if the format has turns; None: one user turn."""
    chat_only: bool = False
    """The row holds chat messages, so the prompt cannot be used in the raw style."""
    desirable: bool | None = None
    """The label of the reference, in data that label single completions."""
    rating: float | None = None
    """A rating of the reference, more being better, in data that rate single completions."""
    columns: Mapping[str, Any] = field(default_factory=dict)
    """The row's other fields, for the user's functions that score completions."""
    place: str = ""
    """FILE:LINE."""
    cuttable: tuple[int, int] | None = None
    """Start and end of the part of the prompt that may be cut from its end, if the prompt is too long."""

    @property
    def ranked(self) -> tuple[str, ...]:
        """All completions of a pair or a ranking, best first; else empty."""
        if self.reference is None or self.rejected is None:
            return ()
        return self.reference, *self.between, self.rejected


def field_names(row: Row) -> str:
    return ", ".join(row) or "none"


def require(row: Row, names: Sequence[str]) -> None:
    """Raise UserError unless the row has all these fields."""
    for name in names:
        if name not in row:
            raise UserError(f"a record without its field '{name}' (fields present: {field_names(row)})")


def text_field(row: Row, name: str) -> str:
    require(row, [name])
    if not isinstance(row[name], str):
        raise UserError(f"field '{name}' must be text, got {type(row[name]).__name__}")
    text: str = row[name]
    return text


def is_number(value: Any) -> bool:
    """Whether a value is a finite number; `isfinite` would raise for integers beyond the floats."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf
