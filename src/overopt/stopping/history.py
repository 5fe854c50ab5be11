"""What a run has recorded so far: all that a condition may look at, in a run being made as in one that is over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from overopt.records import Run, layout, load_run
from overopt.records.tail import Tail

Row = Mapping[str, Any]

RUN_ERROR = 0.05
"""The most that the chance of ending a run for nothing may come to: over all of its evaluations, by all conditions."""


@dataclass(frozen=True)
class RecordedHistory:
    """A run's records up to a step, as written."""

    run: Run
    step: int
    updates: Sequence[Row] = ()
    """`metrics.jsonl`."""
    evaluations: Sequence[Row] = ()
    """`evaluations.jsonl`, of the judge and the split of its first line that has a win rate, if there is one."""
    timings: Sequence[Row] = ()
    error: float = RUN_ERROR
    """The part of it that the condition at hand may spend."""

    def until(self, step: int) -> RecordedHistory:
        """What it was at an earlier step."""
        updates, evaluations, timings = (
            [row for row in part if row["step"] <= step] for part in (self.updates, self.evaluations, self.timings)
        )
        return replace(self, step=step, updates=updates, evaluations=evaluations, timings=timings)

    def allowed(self, step: int) -> float:
        """The p-value up to which the evaluation of this step is evidence: all of them together sum up to `error`.

        Each may spend the share of the planned steps that passed since the evaluation before (alpha spending by Lan
        and DeMets, linear), so neither how many there will be nor how they are correlated needs to be known.
        """
        before = max((row["step"] for row in self.evaluations if row["step"] < step), default=0)
        return self.error * (step - before) / max(self.run.info.get("steps", self.step), step, 1)

    def evaluated(self) -> bool:
        """Whether its last step was evaluated."""
        return bool(self.evaluations) and self.evaluations[-1]["step"] == self.step

    def best_step(self) -> int:
        """The evaluated step with the highest win rate, else the highest accuracy; of equals the earlier; else 0."""
        for name in ("win_rate", "accuracy"):
            points = [(row[name], -row["step"]) for row in self.evaluations if row.get(name) is not None]
            if points:
                return -max(points)[1]
        return 0


@dataclass
class HistoryReader:
    """Reads on in a run's line files, so that nothing is read twice."""

    path: Path
    _updates: list[Row] = field(default_factory=list)
    _evaluations: list[Row] = field(default_factory=list)
    _timings: list[Row] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._files = [
            (Tail(self.path / layout.METRICS), self._updates),
            (Tail(self.path / layout.EVALUATIONS), self._evaluations),
            (Tail(self.path / layout.TIMINGS), self._timings),
        ]

    def read(self) -> RecordedHistory:
        """Everything recorded by now."""
        for tail, rows in self._files:
            rows += tail.rows()
        step = max((int(row["step"]) for _, rows in self._files for row in rows[-1:]), default=0)
        return RecordedHistory(
            load_run(self.path), step, self._updates, own_evaluations(self._evaluations), self._timings
        )


def own_evaluations(rows: Sequence[Row]) -> list[Row]:
    """Lines of one judge and one split."""
    first = next((row for row in rows if row.get("win_rate") is not None), next(iter(rows), {}))
    place = (first.get("judge"), first.get("split"))
    return [row for row in rows if (row.get("judge"), row.get("split")) == place]
