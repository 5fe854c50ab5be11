"""Ratings of summaries (`axis_evals` of OpenAI's `summarize-from-feedback`), from 1 to 7 on several axes.

`info` (the post or the article) and `summary`: `text`, `policy`, `note` and `axes`, of which `overall` ranks. A summary
is a demonstration; two of one prompt whose ratings differ can be a pair. All axes are columns.
"""

from __future__ import annotations

from overopt.errors import UserError
from overopt.tasks.formats import tldr
from overopt.tasks.formats.example import Example, Row, is_number, require
from overopt.types import Dropped

NEEDS = "info, summary with text and axes (ratings of summaries)"
RAW = ("info", "summary")
AXIS = "overall"
"""The axis that ranks summaries."""


def matches(row: Row) -> bool:
    return "info" in row and isinstance(row.get("summary"), dict) and "axes" in row["summary"]


def read(row: Row, dropped: Dropped) -> Example | None:
    require(row, RAW)
    prompt, summary = tldr.info_prompt(row), row["summary"]
    text, axes = (summary.get(name) if isinstance(summary, dict) else None for name in ("text", "axes"))
    if not isinstance(text, str) or not isinstance(axes, dict):
        raise UserError("field 'summary' must hold its 'text', and its ratings as 'axes'")
    rating = axes.get(AXIS)
    if rating is None:
        dropped.add(f"no rating on the axis {AXIS!r}")
        return None
    if not is_number(rating):
        raise UserError(f"field 'summary': its axis {AXIS!r} must be a number, got {rating!r}")
    columns = {**tldr.info_columns(row, RAW), "policy": summary.get("policy"), **axes}
    known = {name: value for name, value in columns.items() if value is not None}
    return Example(prompt, text, rating=float(rating), columns=known)
