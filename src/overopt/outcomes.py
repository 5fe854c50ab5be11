"""Labels a run from its records alone: GOOD, OVER, OVER-PEAK, COLLAPSE, FLAT or STALL.

Two series of greedy completions of the same prompts at every checkpoint decide: the proxy (the reward model's score)
and the outcome against the reference (1 win, 1/2 tie, 0 loss). D is the mean paired difference of the outcome between
the last checkpoint and step 0, the SFT policy. The proxy "rose" if its paired difference between the last and the first
checkpoint exceeds two standard errors over prompts. The peak is the best of all checkpoints, and the best of many lies
above the last by chance: a fall from it counts if it is as unlikely as two standard errors of a single difference
(`bench/false_positives.md` measures how often this errs).

A run is labeled by the judge that it was trained with, or by any other that has judged its completions since, each
from its own outcomes alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from overopt.records import Run
from overopt.statistics import Difference, largest_p, paired_difference, tail

Label = Literal["GOOD", "OVER", "OVER-PEAK", "COLLAPSE", "FLAT", "STALL"]

OVER_OPTIMIZED: tuple[Label, ...] = ("OVER", "OVER-PEAK")
"""Labels of a rising proxy with a win rate below SFT's, or with one that fell from its peak back to SFT's."""
COLLAPSED: Label = "COLLAPSE"

JUDGED_STAGES = ("online", "offline")
"""Stages whose runs are labeled; the runs of the other stages are their parents."""


# The thresholds were fixed before the first reported run.
SIGNIFICANCE = 2.0
"""Standard errors that a difference must exceed; a fall from a peak must be as unlikely by chance."""
STALL = 0.1
"""Least change of the mean proxy, in standard deviations of SFT's scores over prompts, that is no stall."""
ENDED = 0.8
"""Least share of completions that end, relative to SFT's, in a stable run."""


@dataclass(frozen=True)
class Outcome:
    """The label of a run, or None with the reason for having none."""

    label: Label | None
    reason: str
    numbers: dict[str, float] = field(default_factory=dict)
    stable: bool | None = None
    """Neither over-optimized nor collapsed, with finite metrics and completions that end; None if unknown."""
    p: float | None = None
    """One-sided p-value of the difference or the fall behind the label; None for FLAT and STALL."""
    past_peak: bool = False
    """Whether the last checkpoint is significantly worse than the best one, with any label."""


@dataclass(frozen=True)
class Checkpoint:
    """The values of the samples of one step, by prompt id."""

    step: int
    outcome: dict[str, float]
    proxy: dict[str, float]
    ended: dict[str, float]
    gold: dict[str, float]


@dataclass(frozen=True)
class Fall:
    """The fall from the best of several checkpoints to the last."""

    place: int
    """Index of the best checkpoint, the first of equals."""
    drop: Difference
    """Best minus last, paired over prompts."""
    p: float
    """Probability that the best of so many lies this far above the last although none truly does."""


def label(run: Run, until: int | None = None, judge: str | None = None) -> Outcome:
    """Label a run by its own evaluations, or by another judge's.

    With `until`, by those up to that step, even if the run is unfinished. A judge that has judged some of the run's
    evaluated steps labels it by these, and the reason says so.
    """
    if until is None and run.status not in ("finished", "stopped", "diverged"):
        return Outcome(None, f"the run is {run.status}, not finished")
    evaluated = checkpoints(run, until, judge)
    outcome = label_checkpoints(evaluated, judge)
    reason = outcome.reason if judge is None else outcome.reason + _coverage(run, until, judge, evaluated)
    if outcome.label is None:
        return replace(outcome, reason=reason)
    ending = f"; the run {_ENDINGS[run.status]}" if until is None and run.status in _ENDINGS else ""
    return replace(outcome, reason=reason + ending, stable=_stable(run, outcome.label, outcome.numbers))


def label_checkpoints(evaluated: Sequence[Checkpoint], judge: str | None = None) -> Outcome:
    """Label evaluated steps in their order, the first of them step 0; whether the run was stable stays unknown.

    `judge` is named in the reason for no label.
    """
    if problem := _undecidable(evaluated, judge):
        return Outcome(None, problem)
    first, last = evaluated[0], evaluated[-1]
    difference = paired(last.outcome, first.outcome)
    proxy = paired(last.proxy, first.proxy)
    fall = fall_from_peak([checkpoint.outcome for checkpoint in evaluated])
    peak = evaluated[fall.place]

    rose = proxy.mean > SIGNIFICANCE * proxy.se
    dropped = fall.p <= tail(SIGNIFICANCE)
    proxy_sd = float(np.std(list(first.proxy.values())))
    stalled = abs(proxy.mean) < STALL * proxy_sd
    found = by_definition(sign(difference), rose=rose, dropped=dropped, stalled=stalled)
    numbers = {
        "win_rate": _mean(last.outcome),
        "sft_win_rate": _mean(first.outcome),
        "difference": difference.mean,
        "difference_se": difference.se,
        "proxy_start": _mean(first.proxy),
        "proxy_end": _mean(last.proxy),
        "proxy_change": proxy.mean,
        "proxy_change_se": proxy.se,
        "proxy_sd": proxy_sd,
        "peak_step": peak.step,
        "peak_win_rate": _mean(peak.outcome),
        "peak_drop": fall.drop.mean,
        "peak_drop_se": fall.drop.se,
        "peak_p": fall.p,
        "n": len(last.outcome.keys() & first.outcome.keys()),
    }
    if first.ended and last.ended:
        numbers |= {"ended_start": _mean(first.ended), "ended_end": _mean(last.ended)}
    p = {"OVER-PEAK": fall.p, "FLAT": None, "STALL": None}.get(found, tail(abs(difference.z)))
    return Outcome(found, _reason(found, numbers), numbers, None, p, dropped)


def by_definition(sign: int, *, rose: bool, dropped: bool, stalled: bool) -> Label:
    """The label by its definition; `sign` is 1 if D is above zero, 0 if tied, -1 if below."""
    if sign < 0:
        return "OVER" if rose else "COLLAPSE"
    if sign > 0:
        return "GOOD"
    if rose and dropped:
        return "OVER-PEAK"
    return "STALL" if stalled else "FLAT"


def checkpoints(run: Run, until: int | None = None, judge: str | None = None) -> list[Checkpoint]:
    """The steps (up to `until`) that a judge has judged, by default the run's own."""
    rows = judged_rows(run, judge)
    steps = sorted({row["step"] for row in rows if until is None or row["step"] <= until})
    return [_read(run, step, rows[0].get("judge"), rows[0].get("split")) for step in steps]


def judges_of(run: Run) -> list[str]:
    """The judges that can label a run, the run's own first: each has judged some of its completions in the same way."""
    return [judge for judge in run.judges() if judged_rows(run, judge)]


def judged_rows(run: Run, judge: str | None = None) -> list[dict[str, Any]]:
    """A judge's evaluations that can be compared with the run's own and with each other, by default the run's own.

    They share the split and the prompts of the first one, the judge was not changed between them, and it compared with
    the references what the run wrote within its own token limit.
    """
    own = [row for row in run.evaluations() if "win_rate" in row]
    if judge is None or (own and own[0].get("judge") == judge):
        return [row for row in own if all(row.get(name) == own[0].get(name) for name in ("judge", "split"))]
    rows = [row for row in run.evaluations(judge) if "win_rate" in row and run.is_ordinary(row)]
    first = own or rows
    return [row for row in rows if all(row.get(name) == first[0].get(name) for name in ("split", "prompt_set"))]


def judged_samples(
    run: Run, step: int, names: Sequence[str], judge: str | None, split: str | None
) -> Iterator[tuple[Any, ...]]:
    """Columns of a step's samples, row by row: those that a judge compared with the references.

    A row without a judge is the run's own.
    """
    columns = run.sample_columns(step, list(dict.fromkeys([*_PLACE, *names])))
    rows = zip(*(columns[name] for name in names), strict=True)
    for place, row in zip(zip(*(columns[name] for name in _PLACE), strict=True), rows, strict=True):
        if place[0] == split and place[1] in (judge, None) and run.is_ordinary(dict(zip(_PLACE, place, strict=True))):
            yield row


_PLACE = ("split", "judge", "against", "max_completion_tokens")


def _read(run: Run, step: int, judge: str | None, split: str | None) -> Checkpoint:
    if step not in run.sample_steps():
        return Checkpoint(step, {}, {}, {}, {})
    rows = list(judged_samples(run, step, ["prompt_id", "outcome", "proxy", "ended", "gold"], judge, split))

    def present(column: int) -> dict[str, float]:
        return {row[0]: float(row[column]) for row in rows if row[column] is not None}

    return Checkpoint(step, outcome=present(1), proxy=present(2), ended=present(3), gold=present(4))


def _undecidable(checkpoints: Sequence[Checkpoint], judge: str | None) -> str | None:
    """Why these checkpoints cannot decide a label, or None if they can."""
    if len(checkpoints) < 2:
        has = "this run has" if judge is None else f"{judge} has made"
        return f"a label takes evaluations at two steps; {has} {len(checkpoints)}"
    first, last = checkpoints[0], checkpoints[-1]
    if first.step != 0:
        was = "evaluated" if judge is None else f"judged by {judge}"
        return f"the SFT policy was not {was}: the first evaluation is of step {first.step}, not 0"
    for what, before, after in (
        ("an outcome", first.outcome, last.outcome),
        ("a proxy score", first.proxy, last.proxy),
    ):
        if not before.keys() & after.keys():
            return f"no prompt has {what} at both step 0 and step {last.step}"
    return None


def _coverage(run: Run, until: int | None, judge: str, evaluated: Sequence[Checkpoint]) -> str:
    """How much of the run a judge has judged, if not all, and why the rest does not count."""
    steps = {row["step"] for row in judged_rows(run) if until is None or row["step"] <= until}
    judged = {checkpoint.step for checkpoint in evaluated}
    if judged and not steps - judged:
        return ""
    last = f", the last of step {max(judged)}" if judged and max(judged) < max(steps) else ""
    said = f"; {judge} has made {len(steps & judged)} of {len(steps)} evaluations{last}" if judged else ""
    if len(run.judge_hashes(judge)) > 1:
        return f"{said}; those made before it was changed do not count: evaluate again"
    others = len(run.evaluations(judge)) - len(judged_rows(run, judge))
    return said + (f"; {others} of other prompts, sides or token limits do not count" if others else "")


def paired(a: Mapping[str, float], b: Mapping[str, float]) -> Difference:
    """Mean of a - b over the prompts that both contain."""
    both = sorted(a.keys() & b.keys())
    return paired_difference([a[prompt] for prompt in both], [b[prompt] for prompt in both])


def fall_from_peak(columns: Sequence[dict[str, float]]) -> Fall:
    """The fall from the best to the last of several checkpoints, given as values by prompt."""
    last = columns[-1]
    places = [place for place, column in enumerate(columns) if column.keys() & last.keys()]
    drops = [paired(columns[place], last) for place in places]
    drop, place = max(zip(drops, places, strict=True), key=lambda pair: pair[0].mean)
    if drop.mean <= 0:
        return Fall(place, drop, 1.0)
    values = np.array([[columns[place].get(prompt, math.nan) for place in places] for prompt in last])
    return Fall(place, drop, largest_p(values - np.array(list(last.values()))[:, None], drop.z))


def sign(difference: Difference) -> int:
    """1 if a difference is significantly above zero, -1 if below, else 0."""
    return 0 if abs(difference.mean) < SIGNIFICANCE * difference.se else int(np.sign(difference.mean))


def _mean(values: dict[str, float]) -> float:
    return float(np.mean(list(values.values())))


def _stable(run: Run, found: Label, numbers: dict[str, float]) -> bool | None:
    if found in (*OVER_OPTIMIZED, "COLLAPSE") or run.status == "diverged":
        return False
    if any("nonfinite" in row for row in run.iter_metrics()):
        return False
    if "ended_end" not in numbers:
        return None
    return numbers["ended_end"] >= ENDED * numbers["ended_start"]


def _reason(found: Label, numbers: dict[str, float]) -> str:
    return _REASONS[found] + (
        ": win rate {win_rate:.2f} against SFT's {sft_win_rate:.2f}"
        " (difference {difference:+.2f}, SE {difference_se:.2f}),"
        " proxy {proxy_change:+.2f} (SE {proxy_change_se:.2f}),"
        " peak {peak_win_rate:.2f} at step {peak_step}"
    ).format(**numbers)


_ENDINGS = {"diverged": "diverged", "stopped": "was stopped"}

_REASONS: dict[Label, str] = {
    "GOOD": "better than SFT",
    "OVER": "the proxy rose while the win rate fell below SFT's",
    "OVER-PEAK": "the proxy rose while the win rate fell from its peak back to SFT's",
    "COLLAPSE": "the win rate fell below SFT's without any rise of the proxy",
    "FLAT": "no different from SFT, though the proxy moved",
    "STALL": "no different from SFT, and the proxy hardly moved",
}
