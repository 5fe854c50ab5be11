"""Judges, which decide whether a completion is better than the reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

Judge = Literal["gold", "reward_model", "none"]
"""`none`: completions are not compared with references; the rest of an evaluation is still computed."""
TIE = 1e-9
"""Scores that differ by less are a tie."""


def outcome(ours: float, reference: float) -> float:
    """Return 1 for a win, 1/2 for a tie, 0 for a loss."""
    if abs(ours - reference) < TIE:
        return 0.5
    return float(ours > reference)


def outcomes(ours: Sequence[float | None], references: Sequence[float | None]) -> list[float | None]:
    """Return the outcome of each prompt, None where either score is absent."""
    return [None if a is None or b is None else outcome(a, b) for a, b in zip(ours, references, strict=True)]
