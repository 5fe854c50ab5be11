"""UltraFeedback as published: an `instruction` and four `completions`, each with its `annotations`.

A completion's score is the mean of its ratings on the aspects (helpfulness, honesty, instruction following,
truthfulness); `overall_score`, which some copies carry, is known to be wrong in places and not read. The completions
are a ranking; a record in which two have the same score, or one has none, is left out and counted.
"""

from __future__ import annotations

from typing import Any

from overopt.errors import UserError
from overopt.tasks.formats.example import Example, Row, require, text_field
from overopt.types import Dropped

NEEDS = "instruction, completions with response and annotations (UltraFeedback)"
RAW = ("instruction", "completions")


def matches(row: Row) -> bool:
    completions = row.get("completions")
    first = completions[0] if isinstance(completions, list) and completions else None
    return "instruction" in row and isinstance(first, dict) and {"response", "annotations"} <= set(first)


def read(row: Row, dropped: Dropped) -> Example | None:
    scored = scored_responses(row, dropped)
    if scored is None:
        return None
    if len({score for score, _ in scored}) < len(scored):
        dropped.add("tied scores")
        return None
    texts = [text for _, text in scored]
    return Example(text_field(row, "instruction"), texts[0], texts[-1], tuple(texts[1:-1]), columns=columns(row))


def scored_responses(row: Row, dropped: Dropped) -> list[tuple[float, str]] | None:
    """(score, response) of each completion, best first; None, counted, if there are fewer than two or one has none."""
    require(row, RAW)
    if not isinstance(row["completions"], list):
        raise UserError("field 'completions' must be a list of completions")
    if len(row["completions"]) < 2:
        dropped.add("fewer than two completions")
        return None
    scored = [(_score(completion), completion["response"]) for completion in map(_completion, row["completions"])]
    known = [(score, text) for score, text in scored if score is not None]
    if len(known) < len(scored):
        dropped.add("a completion without a rating")
        return None
    return sorted(known, key=lambda item: -item[0])


def columns(row: Row) -> Row:
    """The row's other fields."""
    return {name: value for name, value in row.items() if name not in RAW}


def _completion(value: Any) -> Row:
    if not isinstance(value, dict) or not isinstance(value.get("response"), str):
        raise UserError("field 'completions': every completion needs its 'response', a text")
    return value


def _score(completion: Row) -> float | None:
    """The mean rating of a completion; None if no aspect has a number."""
    annotations = completion.get("annotations")
    aspects = annotations.values() if isinstance(annotations, dict) else []
    ratings = [aspect.get("Rating") for aspect in aspects if isinstance(aspect, dict)]
    known = [float(text) for text in map(str, ratings) if text.isdecimal()]  # else "N/A"
    return sum(known) / len(known) if known else None
