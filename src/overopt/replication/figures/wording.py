"""Sentences about what a figure shows, counted from the records: they stay true whatever the records say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from overopt.outcomes import paired, sign
from overopt.replication.figures.over_seeds import PointsOf
from overopt.replication.members import Member, Points
from overopt.statistics import direction, kendall_trend
from overopt.statistics.series import start_end


def of(count: int, total: int) -> str:
    return f"{count} of {total}"


def win_rates_say(runs: Sequence[Member]) -> str:
    """How many runs end below and above SFT's win rate by two standard errors over prompts."""
    signs = [found for run in runs if (found := change(run.won)) is not None]
    if not signs:
        return "no run has a win rate to compare with SFT's"
    return f"the win rate ends below SFT's in {of(signs.count(-1), len(signs))} runs and above it in {signs.count(1)}"


def proxy_says(runs: Sequence[Member]) -> str:
    """In how many runs the reward model's score of the same prompts rises by two standard errors."""
    signs = [found for run in runs if (found := change(run.proxy)) is not None]
    return f"the proxy rises in {of(signs.count(1), len(signs))} runs" if signs else "the proxy was not recorded"


def change(by_step: Mapping[int, Mapping[str, float]]) -> int | None:
    """1 if the last evaluation is above the first by two standard errors, paired over prompts; -1 below; else 0.

    None without two evaluations that share prompts.
    """
    columns = [dict(by_step[step]) for step in sorted(by_step) if by_step[step]]
    if len(columns) < 2 or not columns[0].keys() & columns[-1].keys():
        return None
    return sign(paired(columns[-1], columns[0]))


def trend_says(what: str, runs: Sequence[Member], points_of: PointsOf) -> str:
    """In how many runs a series ends higher than it starts, and how many trends are significant."""
    found = _known(runs, points_of)
    return (
        f"{what} ends higher than it starts in {rises_text(runs, points_of)}" if found else f"{what} was not recorded"
    )


def rises_text(runs: Sequence[Member], points_of: PointsOf) -> str:
    """`4 of 5 runs (significantly: 2 up, 1 down)`: those that end higher than they start, and significant trends.

    A trend is one by Kendall's tau of at least 0.3 with p < 0.01 among equally autocorrelated noise.
    """
    found = _known(runs, points_of)
    higher = sum(end_of(points) > start_of(points) for points in found)
    trends = [direction(kendall_trend(*points)) for points in found]
    significant = f"significantly: {trends.count('up')} up, {trends.count('down')} down"
    return f"{of(higher, len(found))} runs ({significant})"


def _known(runs: Sequence[Member], points_of: PointsOf) -> list[Points]:
    return [points for run in runs if (points := points_of(run)) is not None and len(points[0])]


def ends_say(what: str, runs: Sequence[Member], points_of: PointsOf, unit: str = "") -> str:
    """The range over runs of a series' end, the mean of its last twentieth (at least five points)."""
    ends = [end_of(points) for points in _known(runs, points_of)]
    return f"{what} ends at {range_text(ends, unit)}" if ends else f"{what} was not recorded"


def range_text(values: Sequence[float], unit: str) -> str:
    """`1.2 to 3.4 nats`; one number where both are the same."""
    low, high = f"{min(values):.3g}", f"{max(values):.3g}"
    return f"{low if low == high else f'{low} to {high}'} {unit}".rstrip()


def end_of(points: Points) -> float:
    """The mean of the last twentieth, at least five points."""
    return start_end(points[1]).end


def start_of(points: Points) -> float:
    return start_end(points[1]).start


def half_of(points: Points) -> float:
    """The middle of a series (45 to 55 % of its steps) as a share of its end: near 1/2 if linear, near 1 if flat."""
    steps, values = points
    place = (steps - steps[0]) / (steps[-1] - steps[0]) if len(steps) > 1 else np.zeros(len(steps))
    end = end_of(points)
    middle = values[(place >= 0.45) & (place <= 0.55)]
    return float(middle.mean() / end) if len(middle) and end else float("nan")


def halves_say(runs: Sequence[Member], points_of: PointsOf) -> str:
    """The share of its end that KL has reached half-way, mean over runs."""
    halves = [half_of(points) for points in _known(runs, points_of)]
    known = [half for half in halves if np.isfinite(half)]
    return f"{np.mean(known):.0%} of that half-way" if known else "its middle not recorded"


def sentence(*parts: str) -> str:
    """Clauses as one sentence: `The proxy rises in 3 of 4 runs; ...`."""
    said = "; ".join(part for part in parts if part)
    return (said[0].upper() if said[0].isascii() else said[0]) + said[1:] + "."
