"""Comparisons of two summaries (OpenAI's `summarize-from-feedback`), of TL;DR posts or of news articles (CNN/DM).

Published: `info` (the post or the article), `summaries` (two of `text`, `policy`, `note`) and `choice` (0 or 1), as in
the files `batch*.json`. Prepared by the recipe: `query`, `chosen`, `rejected`, their policies and tokens.
"""

from __future__ import annotations

from typing import Any

from overopt.errors import UserError
from overopt.tasks.formats import tldr
from overopt.tasks.formats.example import Example, Row, require, text_field
from overopt.types import Dropped

NEEDS = "info, summaries, choice (comparisons of summaries); or query, chosen, rejected, chosen_policy"
RAW = ("info", "summaries", "choice")
PREPARED = ("query", "chosen", "rejected")


def matches(row: Row) -> bool:
    prepared = set(PREPARED) <= set(row) and ("chosen_policy" in row or "query_token" in row)
    return set(RAW) <= set(row) or prepared


def read(row: Row, dropped: Dropped) -> Example | None:
    if "query" in row and not set(RAW) <= set(row):
        prompt, *texts = (text_field(row, name) for name in PREPARED)
        chosen, rejected = (text.removesuffix(tldr.END) for text in texts)
        return Example(prompt.strip(), chosen, rejected, columns=tldr.columns(row, PREPARED))
    require(row, RAW)
    prompt, summaries, choice = tldr.info_prompt(row), _summaries(row["summaries"]), row["choice"]
    if isinstance(choice, bool) or choice not in (0, 1):
        raise UserError(f"field 'choice' must be 0 or 1, the place of the better summary, got {choice!r}")
    better, worse = summaries[choice], summaries[1 - choice]
    policies = {"chosen_policy": better.get("policy"), "rejected_policy": worse.get("policy")}
    kept = tldr.info_columns(row, (*RAW, *PREPARED)) | policies
    columns = {name: value for name, value in kept.items() if value is not None}
    return Example(prompt, better["text"], worse["text"], columns=columns)


def _summaries(value: Any) -> list[Row]:
    """The two summaries; a list of objects, or an object of lists, as some exports write it."""
    if isinstance(value, dict) and value and all(isinstance(v, list) and len(v) == 2 for v in value.values()):
        value = [dict(zip(value, fields, strict=True)) for fields in zip(*value.values(), strict=True)]
    items = value if isinstance(value, list) else []
    summaries = [item for item in items if isinstance(item, dict) and isinstance(item.get("text"), str)]
    if len(summaries) == len(items) == 2:
        return summaries
    raise UserError("field 'summaries' must hold two summaries, each with its 'text'")
