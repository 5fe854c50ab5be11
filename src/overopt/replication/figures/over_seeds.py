"""What the runs of one setting have in common: mean curves with intervals over seeds, win rates and outcomes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from overopt.outcomes import COLLAPSED, OVER_OPTIMIZED
from overopt.replication.cells import Cell
from overopt.replication.members import Member, Points
from overopt.statistics import seeds_interval

BLOCKS = 25
"""The most points of a curve of training: batches are averaged over blocks of updates, all of one length."""

PointsOf = Callable[[Member], Points | None]


@dataclass(frozen=True)
class Axis:
    """A y-axis: linear, or with `linear_below` logarithmic above that size and linear below it (symlog)."""

    linear_below: float | None = None

    def forward(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Values to places on the axis, where they are averaged: on a logarithmic one that is the geometric mean."""
        if self.linear_below is None:
            return values
        return np.sign(values) * np.log1p(np.abs(values) / self.linear_below)

    def back(self, places: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.linear_below is None:
            return places
        return np.sign(places) * np.expm1(np.abs(places)) * self.linear_below


LINEAR = Axis()


@dataclass(frozen=True)
class Point:
    """The mean over the seeds that have a value here. `low` and `high` bound its interval: NaN with a single seed."""

    x: float
    mean: float
    low: float
    high: float
    seeds: int


def curve(lines: Sequence[Points], width: int | None = None, axis: Axis = LINEAR) -> list[Point]:
    """The mean over seeds with its 95 % interval (Student's t), computed on the axis.

    With a `width`, each seed is first averaged over blocks of so many updates; without, steps are taken as they are.
    """
    by_place: dict[int, list[tuple[float, float]]] = {}
    for steps, values in lines:
        for place, *point in _blocks(steps, values, width):
            by_place.setdefault(int(place), []).append((point[0], point[1]))
    points = []
    for place in sorted(by_place):
        x, y = np.array(by_place[place]).T
        z = axis.forward(y)
        interval = seeds_interval(z)
        mean, low, high = axis.back(np.array([z.mean(), interval.low, interval.high]))
        points.append(Point(float(x.mean()), float(mean), float(low), float(high), len(y)))
    return points


def block_width(lines: Sequence[Points]) -> int:
    """Updates to average over, for all curves of a panel."""
    last = max((float(steps[-1]) for steps, _ in lines), default=1.0)
    return max(1, math.ceil(last / BLOCKS))


def _blocks(steps: NDArray[np.float64], values: NDArray[np.float64], width: int | None) -> NDArray[np.float64]:
    """Rows of block, mean step and mean value. Updates count from 1, so that the first block is complete."""
    known = np.isfinite(values)
    steps, values = steps[known], values[known]
    if width is None or not len(steps):
        return np.stack([steps, steps, values], axis=1)
    block = (steps - 1) // width
    starts = np.flatnonzero(np.r_[True, np.diff(block) != 0])
    bounds = [*starts.tolist(), len(block)]
    return np.array([(block[a], steps[a:b].mean(), values[a:b].mean()) for a, b in pairwise(bounds)])


def series(name: str) -> PointsOf:
    """Takes a metric of training from a run."""
    return lambda run: run.series.get(name)


def win_rates(run: Member) -> Points | None:
    """Evaluated steps, and the share of prompts won there (a tie is one half)."""
    judged = {step: outcome for step, outcome in sorted(run.won.items()) if outcome}
    if not judged:
        return None
    return np.array(list(judged), float), np.array([np.mean(list(outcome.values())) for outcome in judged.values()])


def final_win_rates(runs: Sequence[Member]) -> list[float]:
    found = [win_rates(run) for run in runs]
    return [float(points[1][-1]) for points in found if points is not None]


def sft_win_rate(runs: Sequence[Member]) -> float | None:
    """The win rate at step 0, mean over seeds: every run starts as the SFT policy of its seed."""
    by_seed = {run.seed: float(points[1][0]) for run in runs if (points := win_rates(run)) and points[0][0] == 0}
    return float(np.mean(list(by_seed.values()))) if by_seed else None


def pooled(runs: Sequence[Member]) -> Cell:
    """The runs of one setting judged together; those without a label do not count."""
    labeled = tuple(run for run in runs if run.outcome.label is not None and run.won)
    return Cell(runs[0].row, runs[0].setting, labeled, len(runs))


def pooled_label(runs: Sequence[Member]) -> str | None:
    """The label of all seeds together, or None if fewer than half have one."""
    cell = pooled(runs)
    return None if cell.problem else cell.label


def end_mark(runs: Sequence[Member]) -> str:
    """`better`, `worse` or `neither`: the mark at a line's end, by its pooled label."""
    label = pooled_label(runs)
    return "better" if label == "GOOD" else "worse" if label in (*OVER_OPTIMIZED, COLLAPSED) else "neither"


def outcome_text(runs: Sequence[Member]) -> str:
    """The pooled label, with the number of seeds that have it by themselves where not all do."""
    label = pooled_label(runs)
    if label is None:
        return "no label"
    count = sum(run.outcome.label == label for run in runs)
    return label if count == len(runs) else f"{label} {count} of {len(runs)}"


def mean_text(values: Sequence[float], digits: int = 2) -> str:
    """The mean with its 95 % interval over seeds: `0.42 [0.30, 0.54]`; without an interval for a single seed."""
    if not len(values):
        return "?"
    mean = f"{np.mean(values):.{digits}f}"
    if len(values) < 2:
        return mean
    interval = seeds_interval(values)
    return f"{mean} [{interval.low:.{digits}f}, {interval.high:.{digits}f}]"


def share_text(values: Sequence[float]) -> str:
    """`mean_text` of shares, whose interval ends at 0 and 1."""
    if len(values) < 2:
        return mean_text(values)
    interval = seeds_interval(values)
    return f"{np.mean(values):.2f} [{max(0.0, float(interval.low)):.2f}, {min(1.0, float(interval.high)):.2f}]"
