"""Questions about the series of a cell: does it rise, does it level off, where does it end?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal

import numpy as np

from overopt.replication.cells import Cell
from overopt.replication.claims.atoms import about, about_all, beyond, missing, near
from overopt.replication.claims.logic import Finding, Number, all_of, untested, yes_no
from overopt.replication.claims.shapes import bulge, growth, half, late_by_early, r2_of_line
from overopt.replication.claims.thresholds import Thresholds
from overopt.replication.members import Points
from overopt.statistics import direction, kendall_trend, spearman
from overopt.statistics.differences import standard_error
from overopt.statistics.series import Trend

Wanted = Literal["up", "down", "not up"]
Statistic = Callable[[Cell], float]


def trends(cell: Cell, t: Thresholds, *, metric: str, wanted: Wanted) -> Finding:
    """A metric has this trend; the other direction is the opposite."""
    if problem := unrecorded(cell, metric):
        return untested(problem)
    return _judged_trend(cell, t, cell.trend(metric), metric, wanted)


def trends_by_lr2(cell: Cell, t: Thresholds, *, metric: str, wanted: Wanted) -> Finding:
    """The same of a metric divided by the squared learning rate."""
    if problem := unrecorded(cell, metric, "lr"):
        return untested(problem)
    return _judged_trend(cell, t, kendall_trend(*by_lr2(cell, metric)), f"{metric}/lr^2", wanted)


def _judged_trend(cell: Cell, t: Thresholds, trend: Trend, metric: str, wanted: Wanted) -> Finding:
    found = direction(trend, t.trend.tau, t.trend.p)
    yes, no = {
        "up": (found == "up", found == "down"),
        "down": (found == "down", found == "up"),
        "not up": (found != "up", True),
    }[wanted]
    bound = -t.trend.tau if wanted == "down" else t.trend.tau
    margin = trend.tau - bound if wanted == "up" else bound - trend.tau
    numbers = (
        Number(f"{cell.name}: tau of {metric}", trend.tau, None, bound, margin),
        Number(f"{cell.name}: p of that tau", trend.p, None, t.trend.p, t.trend.p - trend.p),
    )
    word = {"up": "rises", "down": "falls", "none": "has no trend"}[found]
    reason = f"{metric} of {cell.name} {word} (tau {trend.tau:+.2f}, p {trend.p:.2g})"
    return about(cell, yes_no(yes, no), reason, *numbers, brief=f"{metric} {word}")


def by_lr2(cell: Cell, metric: str) -> Points:
    """A metric of second order in the learning rate, divided by its square: comparable while a schedule decays."""
    steps, values = cell.series(metric)
    at, rates = cell.series("lr")
    rate = np.interp(steps, at, rates)
    known = rate > 0
    return steps[known], values[known] / rate[known] ** 2


# Statistics with a threshold


def passes(
    cell: Cell,
    t: Thresholds,
    what: str,
    statistic: Statistic,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    opposite: float | None = None,
) -> Finding:
    """A statistic of the mean series passes a threshold; its standard error is that of the seeds' own values."""
    value = statistic(cell)
    truth, number = beyond(
        f"{cell.name}: {what}", value, cell.by_seed(statistic), t, at_least=at_least, at_most=at_most, opposite=opposite
    )
    limit = f"{'>=' if at_least is not None else '<='} {number.threshold:g}"
    reason = f"{what} of {cell.name} is {value:.3g} ({limit} wanted)"
    return about(cell, truth, reason, number, brief=f"{what} {limit}").but(*near(number, t))


def ended(metric: str) -> Statistic:
    """The end of a metric."""
    return lambda cell: cell.start_end(metric).end


def half_learned(cell: Cell) -> float:
    return half(cell.learned("kl_ref"))


def slopes_learned(cell: Cell) -> float:
    return late_by_early(cell.learned("kl_ref"))


def levels_off(cell: Cell, t: Thresholds) -> Finding:
    """KL to the reference grows at first and slowly then, over the learning rates summed up."""
    if problem := unrecorded(cell, "kl_ref", "lr"):
        return untested(problem)
    return _both(
        passes(cell, t, "half(kl_ref)", half_learned, at_least=t.shape.half),
        passes(cell, t, "late/early slope of kl_ref", slopes_learned, at_most=t.shape.saturated),
        Number(f"{cell.name}: half(kl_ref) over steps", half(cell.series("kl_ref"))),
        Number(f"{cell.name}: late/early slope of kl_ref over steps", late_by_early(cell.series("kl_ref"))),
    )


def grows_steadily(cell: Cell, t: Thresholds) -> Finding:
    """KL to the reference is about a line over steps, and does not level off over the learning rates summed up."""
    if problem := unrecorded(cell, "kl_ref", "lr"):
        return untested(problem)
    return _both(
        passes(cell, t, "R2 of a line through kl_ref", _line, at_least=t.shape.linear),
        passes(cell, t, "late/early slope of kl_ref", slopes_learned, at_least=t.shape.sustained),
    )


def accelerates(cell: Cell, t: Thresholds) -> Finding:
    if problem := unrecorded(cell, "kl_ref", "lr"):
        return untested(problem)
    return passes(cell, t, "late/early slope of kl_ref", slopes_learned, at_least=t.shape.accelerated)


def bounded(cell: Cell, t: Thresholds) -> Finding:
    """KL between consecutive policies stays within twice its early size, and has no trend upward."""
    if problem := unrecorded(cell, "kl_prev"):
        return untested(problem)
    return _both(
        passes(cell, t, "largest by early kl_prev", _bulge, at_most=t.shape.bounded),
        trends(cell, t, metric="kl_prev", wanted="not up"),
    )


def drifts(cell: Cell, t: Thresholds) -> Finding:
    """KL between consecutive policies rises, to one and a half times its start; a fall is the opposite."""
    if problem := unrecorded(cell, "kl_prev"):
        return untested(problem)
    return _both(
        trends(cell, t, metric="kl_prev", wanted="up"),
        passes(cell, t, "end by start of kl_prev", _growth, at_least=t.shape.growth, opposite=1.0),
    )


def drifts_by_lr2(cell: Cell, t: Thresholds) -> Finding:
    """The same of that KL by the squared learning rate."""
    if problem := unrecorded(cell, "kl_prev", "lr"):
        return untested(problem)
    return _both(
        trends_by_lr2(cell, t, metric="kl_prev", wanted="up"),
        passes(cell, t, "end by start of kl_prev/lr^2", _growth_by_lr2, at_least=t.shape.growth, opposite=1.0),
    )


def _line(cell: Cell) -> float:
    return r2_of_line(cell.series("kl_ref"))


def _bulge(cell: Cell) -> float:
    return bulge(cell.series("kl_prev"))


def _growth(cell: Cell) -> float:
    return growth(cell.series("kl_prev"))


def _growth_by_lr2(cell: Cell) -> float:
    return growth(by_lr2(cell, "kl_prev"))


def _both(a: Finding, b: Finding, *numbers: Number) -> Finding:
    both = all_of((a, b))
    reason = "; ".join(dict.fromkeys([a.reason, b.reason]))
    return replace(both, reason=reason, numbers=(*both.numbers, *numbers))


# Several cells


def rank_correlation(
    cells: Sequence[Cell], t: Thresholds, what: str, x: Sequence[float], y: Sequence[float]
) -> Finding:
    """Spearman's correlation over cells is below 0, by its p-value; above 0 is the opposite."""
    if len(cells) < 3:
        return untested(f"{what}: {len(cells)} settings have no order that chance could not give")
    rho = spearman(x, y)
    significant = rho.p < t.comparison.rank_p
    number = Number(f"Spearman's rho of {what}, {len(cells)} settings", rho.value, None, 0.0, -rho.value)
    p = Number("its p-value", rho.p, None, t.comparison.rank_p, t.comparison.rank_p - rho.p)
    truth = yes_no(significant and rho.value < 0, significant and rho.value > 0)
    reason = f"rho of {what} over {len(cells)} settings is {rho.value:+.2f}, p {rho.p:.2g}"
    return about_all(cells, truth, reason, number, p)


def falls_more(worse: Sequence[Cell], better: Sequence[Cell], t: Thresholds, what: str, fall: Statistic) -> Finding:
    """The mean fall in one group is several times that in another; a smaller one is the opposite."""
    if not worse or not better:
        lacking = "over-optimized" if not worse else "good"
        return untested(f"no run is {lacking}, so that falls cannot be compared")
    groups = [np.array([fall(cell) for cell in group]) for group in (worse, better)]
    (a, b), (se_a, se_b) = ([float(g.mean()) for g in groups], [standard_error(g) for g in groups])
    ratio = t.comparison.fall
    margin, se = a - ratio * b, float(np.hypot(se_a, ratio * se_b))
    less = a - b < -t.standard_errors * float(np.hypot(se_a, se_b))
    numbers = (
        Number(f"mean fall of {what}, {len(worse)} over-optimized settings", a, se_a),
        Number(f"mean fall of {what}, {len(better)} good settings", b, se_b),
        Number(f"the former less {ratio:g} times the latter", margin, se, 0.0, margin),
    )
    reason = f"{what} falls by {a:.2g} in over-optimized settings, by {b:.2g} in good ones"
    return about_all((*worse, *better), yes_no(margin >= 0 and a > 0, less), reason, *numbers)


def unrecorded(cell: Cell, *metrics: str) -> str | None:
    """Why a cell cannot say anything about these metrics, if it cannot."""
    lacking = [name for name in metrics if not cell.problem and not cell.has(name)]
    return missing(cell) or (f"{cell.name}: {lacking[0]} is not recorded" if lacking else None)


rises = partial(trends, wanted="up")
falls = partial(trends, wanted="down")
