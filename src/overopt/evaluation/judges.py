"""Who decides whether a completion beats the reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from overopt.types import Completion, PromptRecord

Judge = Literal["gold", "reward_model", "none"]
"""`none`: nobody compares completions with references; the rest of an evaluation is still made."""
TIE = 1e-9
"""Scores closer than this are a tie."""


def outcome(ours: float, reference: float) -> float:
    """1 for a win, 1/2 for a tie, 0 for a loss."""
    if abs(ours - reference) < TIE:
        return 0.5
    return float(ours > reference)


def outcomes(ours: Sequence[float | None], references: Sequence[float | None]) -> list[float | None]:
    """The outcome of each prompt, None where either score is absent."""
    return [None if a is None or b is None else outcome(a, b) for a, b in zip(ours, references, strict=True)]


def reference_completion(record: PromptRecord) -> Completion | None:
    """The reference as a completion that ended."""
    return None if record.reference is None else Completion(record.reference)
