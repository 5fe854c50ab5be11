"""Questions about the outcome of one cell: is it good, over-optimized, stable? And about two: which wins more?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from overopt.outcomes import COLLAPSED, ENDED, OVER_OPTIMIZED, SIGNIFICANCE, Label
from overopt.replication.cells import Cell, best_against, contrast
from overopt.replication.claims.logic import Finding, Number, Truth, all_of, distinct, untested, yes_no
from overopt.replication.claims.thresholds import Thresholds
from overopt.statistics import Difference, tail
from overopt.statistics.differences import standard_error

NO_OPPOSITE = "broken training is no over-optimization: it counts against the claim, but is not its opposite"


def over(cell: Cell, _: Thresholds) -> Finding:
    """Over-optimized: OVER or OVER-PEAK. A better win rate than SFT's is the opposite; a collapse is not."""
    return labeled(cell, yes=OVER_OPTIMIZED, no=("GOOD",))


def over_at_the_end(cell: Cell, _: Thresholds) -> Finding:
    """OVER: the win rate ends below SFT's."""
    return labeled(cell, yes=("OVER",), no=("GOOD",))


def good(cell: Cell, _: Thresholds) -> Finding:
    """GOOD: the win rate ends above SFT's."""
    return labeled(cell, yes=("GOOD",), no=(*OVER_OPTIMIZED, COLLAPSED))


def conservative_or_over(cell: Cell, _: Thresholds) -> Finding:
    return labeled(cell, yes=("STALL", "FLAT", *OVER_OPTIMIZED), no=("GOOD",))


def labeled(cell: Cell, *, yes: Sequence[Label], no: Sequence[Label]) -> Finding:
    """Whether a cell's label is among some, or among their opposites."""
    if cell.problem:
        return untested(cell.problem)
    truth = yes_no(cell.label in yes, cell.label in no)
    why = f"; {NO_OPPOSITE}" if cell.label == COLLAPSED and truth is Truth.UNCLEAR else ""
    return about(cell, truth, described(cell) + why, *label_numbers(cell), brief=cell.label)


def stable(cell: Cell, t: Thresholds) -> Finding:
    """Neither over-optimized nor collapsed, with finite numbers and completions that end.

    A share of completions that end below its threshold is the opposite only by two standard errors over the seeds.
    """
    if cell.problem:
        return untested(cell.problem)
    if cell.stable is None:
        return untested(f"{cell.name}: whether completions end is not recorded")
    shares = [_share(*ends) for ends in zip(cell.each("ended_end"), cell.each("ended_start"), strict=True)]
    share = _share(cell.mean("ended_end"), cell.mean("ended_start"))
    truth, ended = beyond(f"{cell.name}: share of completions that end, by SFT's", share, shares, t, at_least=ENDED)
    if cell.broken:
        truth = Truth.NO
    how = {Truth.YES: "stable", Truth.NO: "not stable"}.get(truth, f"{share:.2f} of SFT's completions end")
    return about(cell, truth, f"{described(cell)}, {how}", *label_numbers(cell), ended, brief=how)


def good_and_stable(cell: Cell, t: Thresholds) -> Finding:
    both = all_of((good(cell, t), stable(cell, t)))
    return replace(both, reason=stable(cell, t).reason)


def near(number: Number, t: Thresholds) -> tuple[str, ...]:
    """A qualifier for a threshold that is passed, though by less than its standard errors."""
    passed = number.margin is not None and number.se is not None and 0 <= number.margin < t.standard_errors * number.se
    return (f"{number.what} passes its threshold by less than {t.standard_errors:g} SE",) if passed else ()


def beyond(
    what: str,
    value: float,
    by_seed: Sequence[float],
    t: Thresholds,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    opposite: float | None = None,
) -> tuple[Truth, Number]:
    """Whether a value passes its threshold, and NO if it misses it, or `opposite`, by two standard errors.

    One seed has no standard error: a value that misses its threshold is unclear then.
    """
    sign, threshold = (1, at_least) if at_least is not None else (-1, at_most)
    assert threshold is not None
    se = standard_error(np.asarray(by_seed, dtype=float)) if len(by_seed) > 1 else None
    margin = sign * (value - threshold)
    beaten = threshold if opposite is None else opposite
    no = se is not None and sign * (value - beaten) < -t.standard_errors * se
    return yes_no(margin >= 0, no), Number(what, value, se, threshold, margin)


def not_above(cell: Cell, _: Thresholds) -> Finding:
    """The win rate does not end above SFT's."""
    if cell.problem:
        return untested(cell.problem)
    d = cell.difference
    z = SIGNIFICANCE * d.se
    number = Number(f"{cell.name}: win rate less SFT's", d.mean, d.se, z, z - d.mean)
    return about(cell, yes_no(cell.label != "GOOD", True), described(cell), number, brief=cell.label)


def below_or_fell(cell: Cell, _: Thresholds) -> Finding:
    """The win rate ends below SFT's, or fell from its peak without ending above: the proxy is not asked."""
    if cell.problem:
        return untested(cell.problem)
    below, above = cell.difference.z <= -SIGNIFICANCE, cell.label == "GOOD"
    truth = yes_no(below or (cell.dropped and not above), above)
    return about(cell, truth, described(cell), *label_numbers(cell), brief="below SFT or back from the peak")


def kept_its_peak(cell: Cell, _: Thresholds) -> Finding:
    """The win rate did not fall from its peak by more than chance."""
    if cell.problem:
        return untested(cell.problem)
    drop, p = cell.peak.drop, cell.peak.p
    fell = Number(f"{cell.name}: p of the fall from the peak, {drop.mean:.3g}", p, None, tail(SIGNIFICANCE),
                  p - tail(SIGNIFICANCE))  # fmt: skip
    reason = f"{cell.name} fell by {drop.mean:.2f} (SE {drop.se:.2f}) from its peak at step {cell.peak.step}"
    return about(cell, yes_no(not cell.dropped, True), reason, fell, brief="at the peak")


def early(cell: Cell, t: Thresholds) -> Finding:
    """The win rate is below SFT's at a checkpoint before half of the training; above it by then is the opposite."""
    if cell.problem:
        return untested(cell.problem)
    curve = cell.curve
    before = {step: d for step, d in curve.items() if 0 < step < t.share.early * max(curve)}
    if not before:
        return untested(f"{cell.name}: no evaluation before {t.share.early:.0%} of the training")
    z = t.standard_errors
    below = [step for step, d in before.items() if d.mean < -z * d.se]
    last = before[max(before)]
    truth = yes_no(bool(below), last.mean > z * last.se)
    first = (
        f"below SFT from step {min(below)}" if below else f"not below SFT before step {max(curve) * t.share.early:g}"
    )
    numbers = [Number(f"{cell.name}: win rate less SFT's at step {max(before)}", last.mean, last.se, -z * last.se,
                      -z * last.se - last.mean)]  # fmt: skip
    if below:
        place = min(below) / max(curve)
        numbers.append(Number(f"{cell.name}: first step below SFT, of the training", place, None, t.share.early,
                              t.share.early - place))  # fmt: skip
    return about(cell, truth, f"{cell.name}: {first} of {max(curve)}", *numbers, brief="early")


# Two or more cells


def comparable(a: Cell, b: Cell, t: Thresholds) -> Finding:
    """Final win rates are about equal."""
    d = contrast(a, b)
    if problem := missing(a, b) or (None if d else f"{a.name} and {b.name} share too few seeds"):
        return untested(problem)
    assert d is not None
    allowed = tolerance(d, t)
    number = Number(f"win rate of {a.name} less that of {b.name}", d.mean, d.se, allowed, allowed - abs(d.mean))
    truth = yes_no(abs(d.mean) <= allowed, True)
    return about_all((a, b), truth, f"{a.name} against {b.name}: {signed(d)}", number)


def not_worse(a: Cell, b: Cell, t: Thresholds) -> Finding:
    """The final win rate of a is about b's, or above."""
    d = contrast(a, b)
    if problem := missing(a, b) or (None if d else f"{a.name} and {b.name} share too few seeds"):
        return untested(problem)
    assert d is not None
    allowed = tolerance(d, t)
    number = Number(f"win rate of {a.name} less that of {b.name}", d.mean, d.se, -allowed, d.mean + allowed)
    return about_all((a, b), yes_no(d.mean >= -allowed, True), f"{a.name} against {b.name}: {signed(d)}", number)


def no_gain(cells: Sequence[Cell], other: Cell, t: Thresholds) -> Finding:
    """None of several cells wins more than another one, by two standard errors and allowing for the choice."""
    best = None if missing(*cells, other) else best_against(cells, other)
    if best is None:
        return untested(missing(*cells, other) or f"nothing to compare with {other.name}")
    gains = best.p <= tail(t.standard_errors) and best.difference.mean > 0
    return about_all((*cells, other), yes_no(not gains, True), *_best(best.cell, other, best.difference, best.p, t))


def gain(cells: Sequence[Cell], other: Cell, t: Thresholds) -> Finding:
    """One of several cells wins more than another one, by two standard errors and allowing for the choice."""
    found = no_gain(cells, other, t)
    numbers = tuple(replace(number, margin=-number.margin) for number in found.numbers if number.margin is not None)
    truth = {Truth.YES: Truth.UNCLEAR, Truth.NO: Truth.YES}.get(found.truth, found.truth)
    return replace(found, truth=truth, numbers=numbers)


def best_is_comparable(cells: Sequence[Cell], other: Cell, t: Thresholds) -> Finding:
    """The best of several cells is about as good as another one; better, allowing for the choice, is the opposite."""
    best = None if missing(*cells, other) else best_against(cells, other)
    if best is None:
        return untested(missing(*cells, other) or f"nothing to compare with {other.name}")
    d = best.difference
    significant = best.p <= tail(t.standard_errors) if d.mean > 0 else d.mean < -t.standard_errors * d.se
    same = abs(d.mean) <= t.comparison.comparable or not significant
    truth = yes_no(same, d.mean > 0)
    return about_all((*cells, other), truth, *_best(best.cell, other, d, best.p, t))


def best_is_below(cells: Sequence[Cell], other: Cell, t: Thresholds) -> Finding:
    """Even the best of several cells wins less than another one; more, allowing for the choice, is the opposite."""
    best = None if missing(*cells, other) else best_against(cells, other)
    if best is None:
        return untested(missing(*cells, other) or f"nothing to compare with {other.name}")
    d, z = best.difference, t.standard_errors
    truth = yes_no(d.mean < 0 and d.mean <= -z * d.se, d.mean > 0 and best.p <= tail(z))
    reason, number = _best(best.cell, other, d, best.p, t)
    return about_all((*cells, other), truth, reason, replace(number, threshold=-z * d.se, margin=-z * d.se - d.mean))


def _best(cell: Cell, other: Cell, d: Difference, p: float, t: Thresholds) -> tuple[str, Number]:
    reason = f"best of them, {cell.name}, against {other.name}: {signed(d)}, p {p:.2g}"
    bound = t.standard_errors * d.se
    return reason, Number(f"win rate of {cell.name} less that of {other.name}", d.mean, d.se, bound, bound - d.mean)


def tolerance(d: Difference, t: Thresholds) -> float:
    """How far comparable win rates may be apart."""
    return max(t.standard_errors * d.se, t.comparison.comparable)


# Words and numbers


def missing(*cells: Cell) -> str | None:
    """The first problem of some cells."""
    return next((cell.problem for cell in cells if cell.problem), None)


def described(cell: Cell) -> str:
    return f"{cell.name}: {cell.label} (win rate {cell.win_rate:.2f}, {signed(cell.difference)} from SFT)"


def signed(d: Difference) -> str:
    return f"{d.mean:+.2f} (SE {d.se:.2f})"


def label_numbers(cell: Cell) -> tuple[Number, ...]:
    """What the label hangs on: the difference to SFT, the rise of the proxy, the fall from the peak."""
    d, proxy = cell.difference, cell.proxy_change
    bound, rise = SIGNIFICANCE * d.se, SIGNIFICANCE * proxy.se
    chance = tail(SIGNIFICANCE)
    return (
        Number(f"{cell.name}: win rate less SFT's", d.mean, d.se, bound, abs(d.mean) - bound),
        Number(f"{cell.name}: change of the proxy", proxy.mean, proxy.se, rise, proxy.mean - rise),
        Number(f"{cell.name}: p of the fall from the peak", cell.peak.p, None, chance, chance - cell.peak.p),
    )


def about(cell: Cell, truth: Truth, reason: str, *numbers: Number, brief: str = "") -> Finding:
    """A finding about the runs of one cell."""
    return about_all((cell,), truth, reason, *numbers, brief=brief)


def about_all(cells: Sequence[Cell], truth: Truth, reason: str, *numbers: Number, brief: str = "") -> Finding:
    """A finding about the runs of some cells, qualified by those that did not count."""
    runs = distinct(run.name for cell in cells for run in cell.runs)
    return Finding(truth, reason, numbers, runs, distinct(text for cell in cells for text in left_out(cell)), brief)


def left_out(cell: Cell) -> list[str]:
    """Which seeds of a cell do not count."""
    gates = sum(run.gate is not None for run in cell.others)
    found = [f"gate failed for {gates} of {cell.planned} seeds of {cell.row}"] if gates else []
    unlabeled = cell.planned - len(cell.runs) - gates
    return found + ([f"{unlabeled} of {cell.planned} seeds of {cell.row} have no label"] if unlabeled else [])


def _share(end: float, start: float) -> float:
    """The share of completions that end by SFT's; 1 where none of SFT's ended."""
    return end / start if start else 1.0
