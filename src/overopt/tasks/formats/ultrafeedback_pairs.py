"""UltraFeedback as published, its best completion against its worst: pairs, for losses that take no rankings.

It is read only by its name, since the records are those of `ultrafeedback`. Of equal scores the first in the file
counts; a record whose best and worst are equal is left out and counted.
"""

from __future__ import annotations

from overopt.tasks.formats import ultrafeedback
from overopt.tasks.formats.example import Example, Row, text_field
from overopt.types import Dropped

NEEDS = ultrafeedback.NEEDS


def matches(row: Row) -> bool:
    return False


def read(row: Row, dropped: Dropped) -> Example | None:
    scored = ultrafeedback.scored_responses(row, dropped)
    if scored is None:
        return None
    (best, chosen), (worst, _) = scored[0], scored[-1]
    if best == worst:
        dropped.add("tied scores")
        return None
    rejected = next(text for score, text in scored if score == worst)
    return Example(text_field(row, "instruction"), chosen, rejected, columns=ultrafeedback.columns(row))
