"""Decides whether a run should end now, and replays where a finished run would have ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from overopt.config import name_of
from overopt.records import Run
from overopt.stopping.history import RUN_ERROR, HistoryReader, RecordedHistory


@dataclass(frozen=True)
class Stop:
    """Why a run ends at a step, and the best step to go back to (0 is the start)."""

    step: int
    condition: str
    reason: str
    go_back_to: int


def decide(conditions: Sequence[Any], history: RecordedHistory) -> Stop | None:
    """The first condition that is met at the last step of the history, or None.

    Conditions that may be met by chance (`spends`) share `RUN_ERROR` evenly.
    """
    spending = sum(bool(condition.spends) for condition in conditions)
    history = replace(history, error=RUN_ERROR / max(1, spending))
    for condition in conditions:
        if condition.at == "evaluation" and not history.evaluated():
            continue
        latest = list(islice(condition.problems(history), condition.patience))
        if len(latest) == condition.patience and all(latest):
            return Stop(history.step, name_of(type(condition)), str(latest[0]), history.best_step())
    return None


def replay(conditions: Sequence[Any], run: Run) -> Stop | None:
    """Where a run would have ended before its last step, or None."""
    whole = HistoryReader(run.path).read()
    for step in range(1, whole.step):
        if (stop := decide(conditions, whole.until(step))) is not None:
            return stop
    return None
