"""Cells: the runs of one row in one setting over its seeds, judged together by the rules for a single run.

Every difference is paired over the prompts of a seed first. Over seeds it has the larger of two standard errors: the
pooled one, and that of the spread between seeds. The label then follows by the definition in `outcomes.py`; with one
seed it is the run's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from overopt.outcomes import COLLAPSED, ENDED, OVER_OPTIMIZED, SIGNIFICANCE, STALL, Label, by_definition, paired, sign
from overopt.replication.members import Member, Members, Points, Setting, place_of
from overopt.statistics import Difference, kendall_trend, largest_p, several_seeds, tail
from overopt.statistics.series import StartEnd, Trend, start_end

Wins = Mapping[str, float]
"""The outcome against the reference by prompt: 1 win, 1/2 tie, 0 loss."""


class Peak(NamedTuple):
    """The best step of the mean win rate over seeds, and the fall from there to the last one."""

    step: int
    drop: Difference
    p: float
    """Probability that the best of so many steps lies this far above the last although none truly does."""


@dataclass(frozen=True, eq=False)
class Cell:
    """The runs of one row in one setting that count; `cell_of` leaves out those without a label."""

    row: str
    setting: Setting
    runs: tuple[Member, ...]
    """By seed."""
    planned: int
    """Seeds that the study has for it."""
    others: tuple[Member, ...] = ()
    """Those that do not count."""

    _trends: dict[str, Trend] = field(default_factory=dict, repr=False)

    @cached_property
    def name(self) -> str:
        parts = [f"{key}={value if isinstance(value, str) else f'{value:g}'}" for key, value in self.setting.items()]
        return " ".join([self.row, *parts])

    @property
    def problem(self) -> str | None:
        """Why the cell decides nothing, if it does not: fewer than half of its seeds are left."""
        if not self.planned:
            return f"{self.name} is not part of the study"
        if 2 * len(self.runs) >= self.planned and self.runs:
            return None
        why = dict.fromkeys(run.outcome.reason for run in self.others)
        count = "no run" if not self.runs else f"only {len(self.runs)} of {self.planned} seeds"
        return f"{self.name}: {count} to judge" + (f" ({'; '.join(why)})" if why else " (no record)")

    # The label

    @cached_property
    def difference(self) -> Difference:
        """Win rate of the last checkpoint less that of step 0."""
        return self._over_seeds("difference", "difference_se")

    @cached_property
    def proxy_change(self) -> Difference:
        return self._over_seeds("proxy_change", "proxy_change_se")

    @cached_property
    def win_rate(self) -> float:
        return self.mean("win_rate")

    @cached_property
    def curve(self) -> dict[int, Difference]:
        """By step that all runs evaluated: the win rate less that of step 0."""
        starts = [next(iter(run.won.values())) for run in self.runs]
        return {step: self._against(step, starts) for step in self._steps(starts)}

    @cached_property
    def peak(self) -> Peak:
        ends = [final(run) for run in self.runs]
        steps = self._steps(ends)
        drops = [self._against(step, ends) for step in steps]
        place = int(np.argmax([drop.mean for drop in drops]))
        drop = drops[place]
        if drop.mean <= 0:
            return Peak(steps[place], drop, 1.0)
        runs = zip(self.runs, ends, strict=True)
        columns = [_less_own_mean([run.won[step] for step in steps], end) for run, end in runs]
        return Peak(steps[place], drop, largest_p(np.concatenate(columns), drop.z))

    @property
    def dropped(self) -> bool:
        """Whether the win rate fell from its peak by more than chance explains."""
        return self.peak.p <= tail(SIGNIFICANCE)

    @cached_property
    def label(self) -> Label:
        proxy = self.proxy_change
        return by_definition(
            sign(self.difference),
            rose=proxy.mean > SIGNIFICANCE * proxy.se,
            dropped=self.dropped,
            stalled=abs(proxy.mean) < STALL * self.mean("proxy_sd"),
        )

    @cached_property
    def broken(self) -> bool:
        """Over-optimized or collapsed, or a run diverged or recorded numbers that are not finite."""
        return self.label in (*OVER_OPTIMIZED, COLLAPSED) or any(_broke(run) for run in self.runs)

    @cached_property
    def stable(self) -> bool | None:
        """Neither over-optimized nor collapsed, every run finite, and completions that end; None if unknown."""
        if self.broken:
            return False
        if any("ended_end" not in run.outcome.numbers for run in self.runs):
            return None
        return self.mean("ended_end") >= ENDED * self.mean("ended_start")

    # Series

    def has(self, name: str) -> bool:
        """Whether every run recorded this metric."""
        return all(name in run.series for run in self.runs)

    def series(self, name: str) -> Points:
        """The mean of a metric over seeds, at the steps at which all of them have it."""
        columns = [dict(zip(*run.series[name], strict=True)) for run in self.runs]
        steps = sorted(set.intersection(*(set(column) for column in columns)))
        values = [[column[step] for step in steps] for column in columns]
        return np.asarray(steps, dtype=float), np.asarray(values, dtype=float).mean(axis=0)

    def learned(self, name: str) -> Points:
        """The same over the learning rates summed up to each step: a schedule that decays is no saturation there."""
        steps, values = self.series(name)
        at, rates = self.series("lr")
        return np.interp(steps, at, np.cumsum(rates)), values

    def trend(self, name: str) -> Trend:
        if name not in self._trends:
            self._trends[name] = kendall_trend(*self.series(name))
        return self._trends[name]

    def start_end(self, name: str) -> StartEnd:
        """Means of the first and the last points of the mean series."""
        return start_end(self.series(name)[1])

    def by_seed(self, statistic: Callable[[Cell], float]) -> list[float]:
        """A statistic of each run by itself."""
        return [statistic(Cell(self.row, self.setting, (run,), 1)) for run in self.runs]

    def _over_seeds(self, mean: str, se: str) -> Difference:
        numbers = [run.outcome.numbers for run in self.runs]
        return several_seeds([Difference(one[mean], one[se]) for one in numbers])

    def each(self, name: str) -> list[float]:
        """A number behind the label of each run."""
        return [run.outcome.numbers[name] for run in self.runs]

    def mean(self, name: str) -> float:
        """The mean over seeds of a number behind the label."""
        return float(np.mean(self.each(name)))

    def _steps(self, others: Sequence[Wins]) -> list[int]:
        """Steps at which each run has outcomes for prompts that the other wins have too."""
        shared = set.intersection(*(set(run.won) for run in self.runs))
        return sorted(step for step in shared if all(a.keys() & b.keys() for a, b in self._pairs(step, others)))

    def _against(self, step: int, others: Sequence[Wins]) -> Difference:
        return several_seeds([paired(*pair) for pair in self._pairs(step, others)])

    def _pairs(self, step: int, others: Sequence[Wins]) -> list[tuple[Wins, Wins]]:
        return [(run.won[step], other) for run, other in zip(self.runs, others, strict=True)]


def cell_of(members: Members, row: str, setting: Setting, *, labeled: bool = True) -> Cell:
    """The cell of a row and setting; without `labeled`, runs count too that have no label, unless a gate is closed."""
    planned = [seed for r, s, seed in members.planned if r == row and s == setting]
    runs = [run for run in members.of(row, **setting) if run.setting == setting]
    counted = [run for run in runs if run.outcome.label is not None or not (labeled or run.gate)]
    others = tuple(run for run in runs if run not in counted)
    return Cell(row, setting, tuple(counted), len(planned), others)


def cells_of(members: Members, row: str, *, labeled: bool = True) -> list[Cell]:
    """The cells of a row, by setting."""
    settings = {tuple(sorted(s.items())): s for r, s, _ in members.planned if r == row}
    return [cell_of(members, row, setting, labeled=labeled) for setting in sorted(settings.values(), key=place_of)]


def final(run: Member) -> Wins:
    """The outcomes of the last checkpoint."""
    return run.won[max(run.won)]


def contrast(a: Cell, b: Cell) -> Difference | None:
    """Final win rate of a less that of b, over the seeds that both have; None if these are fewer than half."""
    pairs = same_seeds(a, b)
    if not pairs or 2 * len(pairs) < max(a.planned, b.planned):
        return None
    return several_seeds([_difference(final(one), final(other)) for one, other in pairs])


class Best(NamedTuple):
    """The cell with the highest final win rate among several, against another one."""

    cell: Cell
    difference: Difference
    p: float
    """Probability that the best of so many is this far above although none truly is."""


def best_against(cells: Sequence[Cell], other: Cell) -> Best | None:
    """The best of several cells against another one, with a p-value that allows for the choice."""
    contrasts = [contrast(cell, other) for cell in cells]
    known = [(cell, found) for cell, found in zip(cells, contrasts, strict=True) if found is not None]
    if not cells or len(known) < len(cells):
        return None
    best, difference = max(known, key=lambda pair: pair[1].mean)
    if difference.mean <= 0:
        return Best(best, difference, 1.0)
    columns = []
    for run in other.runs:
        rivals = [next((one for one in cell.runs if one.seed == run.seed), None) for cell in cells]
        columns.append(_less_own_mean([{} if one is None else final(one) for one in rivals], final(run)))
    return Best(best, difference, largest_p(np.concatenate(columns), difference.z))


def ends(a: Cell, b: Cell, name: str) -> Difference | None:
    """End of a series in a less that in b, over the seeds that both have; None if there are none."""
    pairs = [(start_end(one.series[name][1]), start_end(other.series[name][1])) for one, other in same_seeds(a, b)]
    found = [Difference(x.end - y.end, math.hypot(x.se_end, y.se_end)) for x, y in pairs]
    return several_seeds(found) if found else None


def beside(cells: Sequence[Cell], statistic: Callable[[Cell], float]) -> list[tuple[float, ...]]:
    """A statistic of several cells, side by side, for each seed that all of them have."""
    columns = [dict(zip((run.seed for run in cell.runs), cell.by_seed(statistic), strict=True)) for cell in cells]
    seeds = sorted(set.intersection(*(set(column) for column in columns)))
    return [tuple(column[seed] for column in columns) for seed in seeds]


def same_seeds(a: Cell, b: Cell) -> list[tuple[Member, Member]]:
    """The runs of two cells under the seeds that both have."""
    others = {run.seed: run for run in b.runs}
    return [(run, others[run.seed]) for run in a.runs if run.seed in others]


def _difference(a: Wins, b: Wins) -> Difference:
    """The paired difference; unpaired where fewer than half of the prompts are the same."""
    if 2 * len(a.keys() & b.keys()) >= max(len(a), len(b)):
        return paired(a, b)
    x, y = np.array(list(a.values())), np.array(list(b.values()))
    return Difference(float(x.mean() - y.mean()), math.sqrt(x.var() / x.size + y.var() / y.size))


def _less_own_mean(columns: Sequence[Wins], other: Wins) -> NDArray[np.float64]:
    """(prompts, K) of columns less another one, each column less its mean: what is left varies within a seed."""
    values = np.array([[column.get(prompt, math.nan) for column in columns] for prompt in other], dtype=float)
    values -= np.array(list(other.values()), dtype=float)[:, None]
    known = np.isfinite(values)
    means = np.where(known, values, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return values - means


def _broke(run: Member) -> bool:
    """Whether a run diverged, or recorded numbers that are not finite."""
    if run.status == "diverged":
        return True
    numbers = run.outcome.numbers
    ended = numbers.get("ended_end", 1.0) >= ENDED * numbers.get("ended_start", 0.0)
    return run.outcome.stable is False and ended and run.outcome.label not in (*OVER_OPTIMIZED, COLLAPSED)
