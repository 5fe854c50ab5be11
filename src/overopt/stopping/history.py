"""The recorded history of a run up to a step: everything that a stopping condition may use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from overopt.records import Run, layout, load_run
from overopt.records.tail import Tail

RUN_ERROR = 0.05
"""Greatest probability of ending a run that has not become worse, over all evaluations and conditions."""


@dataclass(frozen=True)
class RecordedHistory:
    """The records of a run up to a step."""

    run: Run
    step: int
    updates: Sequence[Mapping[str, Any]] = ()
    """The lines of `metrics.jsonl`."""
    evaluations: Sequence[Mapping[str, Any]] = ()
    """The lines of `evaluations.jsonl` that share judge and split with the first one that has a win rate."""
    timings: Sequence[Mapping[str, Any]] = ()
    error: float = RUN_ERROR
    """The share of RUN_ERROR that one condition may spend."""

    def until(self, step: int) -> RecordedHistory:
        """The history at an earlier step."""
        updates, evaluations, timings = (
            [row for row in part if row["step"] <= step] for part in (self.updates, self.evaluations, self.timings)
        )
        return replace(self, step=step, updates=updates, evaluations=evaluations, timings=timings)

    def allowed(self, step: int) -> float:
        """The largest p-value that counts as evidence at the evaluation of a step; all of them add up to `error`.

        Linear alpha spending (Lan and DeMets): an evaluation may spend the share of the planned steps since the one
        before, so neither the number of evaluations nor their correlation needs to be known.
        """
        before = max((row["step"] for row in self.evaluations if row["step"] < step), default=0)
        return self.error * (step - before) / max(self.run.info.get("steps", self.step), step, 1)

    def evaluated(self) -> bool:
        """Whether the last step was evaluated."""
        return bool(self.evaluations) and self.evaluations[-1]["step"] == self.step

    def best_step(self) -> int:
        """The step of the highest win rate, or else accuracy; of equals the earlier; 0 without evaluations."""
        for name in ("win_rate", "accuracy"):
            points = [(row[name], -row["step"]) for row in self.evaluations if row.get(name) is not None]
            if points:
                return -max(points)[1]
        return 0


class HistoryReader:
    """Reads a running run's line files incrementally."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._tails = [Tail(path / name) for name in (layout.METRICS, layout.EVALUATIONS, layout.TIMINGS)]
        self._rows: list[list[Mapping[str, Any]]] = [[], [], []]

    def read(self) -> RecordedHistory:
        """The history recorded so far."""
        for tail, rows in zip(self._tails, self._rows, strict=True):
            rows += tail.rows()
        updates, evaluations, timings = self._rows
        step = max((int(rows[-1]["step"]) for rows in self._rows if rows), default=0)
        return RecordedHistory(load_run(self.path), step, updates, own_evaluations(evaluations), timings)


def own_evaluations(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The evaluations that share judge and split with the first one that has a win rate."""
    first = next((row for row in rows if row.get("win_rate") is not None), next(iter(rows), {}))
    place = (first.get("judge"), first.get("split"))
    return [row for row in rows if (row.get("judge"), row.get("split")) == place]
