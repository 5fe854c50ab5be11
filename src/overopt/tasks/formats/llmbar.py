"""LLMBar: an instruction, two outputs, and the number of the output that follows it."""

from __future__ import annotations

from overopt.errors import UserError
from overopt.tasks.formats.example import Example, Row, require, text_field
from overopt.types import Dropped

NEEDS = "input, output_1, output_2, label (LLMBar)"
FIELDS = ("input", "output_1", "output_2", "label")


def matches(row: Row) -> bool:
    return set(FIELDS) <= set(row)


def read(row: Row, dropped: Dropped) -> Example | None:
    require(row, FIELDS)
    prompt, first, second = (text_field(row, name) for name in FIELDS[:3])
    label = row["label"]
    if isinstance(label, bool) or label not in (1, 2, "1", "2"):  # CSV cells are text
        raise UserError(f"field 'label' must be 1 or 2, got {label!r}")
    return Example(prompt, first, second) if int(label) == 1 else Example(prompt, second, first)
