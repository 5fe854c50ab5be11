"""Which recorded quantity moves first, before gold turns?

An alarm is the first step at which a quantity's running mean has left its start by more than a threshold. Thresholds
were fixed on good runs of tuning seeds, so that few of those alarm; the good runs of the study say how often they do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from overopt.outcomes import OVER_OPTIMIZED
from overopt.replication.members import Member, Members
from overopt.replication.questions.answer import Answer, Estimate, listed, not_tested, over_seeds
from overopt.replication.questions.drawing import dots
from overopt.replication.questions.measures import step_of_fall, usable
from overopt.statistics import wilson

NAME = "early-signs"
QUESTION = "Which recorded quantity moves first, before gold turns?"

START = 3
"""Updates whose mean is the start of a quantity; the learning rate is still warming up."""
WINDOW = 3
"""Updates of the running mean that is compared with the start."""
GOLD_WINDOW = 5
"""Updates of the running mean of gold whose maximum is the turn."""
TUNED_RATE = 0.05
"""Share of good tuning runs that may alarm."""
TOLERATED = 0.1
"""Share of false alarms, in the study, up to which a quantity may be named the first to move."""

HALF = 0.5
"""Share of over-optimized runs in which a quantity must alarm before gold turns to be called the first to move."""

THRESHOLDS: Mapping[str, float] = {
    "kl_ref": 3.53,
    "kl_prev": 0.157,
    "kl_prev_reverse": 0.0677,
    "approxkl": 0.0224,
    "ratio_var": 0.029,
    "clipfrac": 0.128,
    "grad_norm": 4.46,
    "entropy_tok": 0.174,
    "neg_logp_tok": 0.207,
    "len_mean": 4.58,
    "eos_rate": 0.0157,
    "score_mean": 1.03,
    "score_sd": 0.487,
}
"""By `calibrate` on 55 good runs: the demo's of seeds 0 to 19, and this study's of seeds 31 to 33. Units are those of
`records/legend.py`."""


@dataclass(frozen=True)
class Sign:
    """How well a quantity warns of over-optimization."""

    quantity: str
    threshold: float
    over_optimized: int
    """Over-optimized runs that record it."""
    flagged: float
    """Share of them that alarm at all."""
    before: float
    """Share of them that alarm before gold turns."""
    lead: Estimate | None
    """Updates from the alarm to gold's turn, where there is one; negative if the alarm comes after."""
    until_fall: Estimate | None
    """Updates from the alarm to the first evaluation whose win rate is below SFT's, where there is one."""
    good: int
    """Good runs that record it."""
    false_alarms: float
    """Share of them that alarm."""
    false_low: float
    false_high: float

    @property
    def rank(self) -> tuple[float, float]:
        return self.before, self.lead.mean if self.lead else float("-inf")

    def row(self) -> dict[str, Any]:
        """As columns of a table."""
        named = {f"{name}_{key}": v for name in ("lead", "until_fall") for key, v in _columns(getattr(self, name))}
        plain = {key: value for key, value in vars(self).items() if key not in ("lead", "until_fall")}
        return plain | named


def _columns(estimate: Estimate | None) -> list[tuple[str, float]]:
    return list(estimate.row().items()) if estimate else []


def answer(members: Members) -> Answer:
    online = [run for run in usable(members.runs) if _is_watched(run)]
    bad = [run for run in online if run.outcome.label in OVER_OPTIMIZED]
    good = [run for run in online if run.outcome.label == "GOOD"]
    if not bad or not good:
        return not_tested(NAME, QUESTION, f"{len(bad)} over-optimized and {len(good)} good online runs know gold")
    signs = [sign for name in THRESHOLDS if (sign := sign_of(name, THRESHOLDS[name], bad, good))]
    first = max((sign for sign in signs if sign.false_alarms <= TOLERATED), key=lambda sign: sign.rank, default=None)
    leads = first is not None and first.before >= HALF
    decision = f"{first.quantity} moves first" if first and leads else "none moves before gold in half of the runs"
    paragraph = _paragraph(signs, first, bad, good)
    return Answer(NAME, QUESTION, decision, paragraph, _chart(signs), [sign.row() for sign in signs])


def _is_watched(run: Member) -> bool:
    """Whether a run counts: minimum entropy moves entropy by design, so a change of it is no sign there."""
    return run.stage == "online" and "gold_mean" in run.series and not run.row.startswith("MIN")


def turn(run: Member) -> float:
    """The step at which the running mean of the samples' gold is greatest: the middle of that window."""
    steps, gold = run.series["gold_mean"]
    if len(gold) < GOLD_WINDOW:
        return float(steps[int(np.argmax(gold))])
    return float(
        steps[int(np.argmax(np.convolve(gold, np.ones(GOLD_WINDOW) / GOLD_WINDOW, "valid"))) + GOLD_WINDOW // 2]
    )


def deviations(run: Member, name: str) -> tuple[Any, Any]:
    """Steps, and by how much the running mean up to each lies from the mean of the first updates."""
    steps, values = run.series[name]
    if len(values) < START + WINDOW:
        return np.array([]), np.array([])
    means = np.convolve(values, np.ones(WINDOW) / WINDOW, "valid")
    return steps[START + WINDOW - 1 :], np.abs(means[START:] - values[:START].mean())


def alarm(run: Member, name: str, threshold: float) -> float:
    """The first step at which a quantity has left its start by more than the threshold; infinite if it never does."""
    steps, found = deviations(run, name)
    above = np.flatnonzero(found > threshold)
    return float(steps[above[0]]) if len(above) else float("inf")


def calibrate(good: Iterable[Member], names: Iterable[str], rate: float = TUNED_RATE) -> dict[str, float]:
    """For each quantity the smallest threshold at which at most a share `rate` of the runs alarm."""
    runs, thresholds = list(good), {}
    for name in names:
        largest = sorted(
            float(found.max()) for run in runs if name in run.series and len(found := deviations(run, name)[1])
        )
        if largest:
            thresholds[name] = largest[len(largest) - 1 - int(rate * len(largest))]
    return thresholds


def sign_of(quantity: str, threshold: float, bad: Sequence[Member], good: Sequence[Member]) -> Sign | None:
    """A quantity on over-optimized and on good runs; None if it was recorded in none of either."""
    bad, good = ([run for run in runs if quantity in run.series] for runs in (bad, good))
    if not bad or not good:
        return None
    alarms = {run: at for run in bad if np.isfinite(at := alarm(run, quantity, threshold))}
    false = sum(bool(np.isfinite(alarm(run, quantity, threshold))) for run in good)
    low, high = wilson(false, len(good))
    return Sign(
        quantity,
        threshold,
        len(bad),
        flagged=len(alarms) / len(bad),
        before=sum(at < turn(run) for run, at in alarms.items()) / len(bad),
        lead=_by_seed({run: turn(run) - at for run, at in alarms.items()}),
        until_fall=_by_seed({run: fall - at for run, at in alarms.items() if np.isfinite(fall := step_of_fall(run))}),
        good=len(good),
        false_alarms=false / len(good),
        false_low=low,
        false_high=high,
    )


def _by_seed(leads: Mapping[Member, float]) -> Estimate | None:
    """The mean over seeds of the median over the runs of a seed; None without runs."""
    seeds = sorted({run.seed for run in leads})
    medians = [float(np.median([lead for run, lead in leads.items() if run.seed == seed])) for seed in seeds]
    return over_seeds(medians) if medians else None


def _chart(signs: Sequence[Sign]) -> Any:
    import altair as alt

    ordered = sorted(signs, key=lambda sign: sign.rank, reverse=True)
    leads = [
        {"category": sign.quantity, "entry": entry} | estimate.row()
        for sign in ordered
        for estimate, entry in ((sign.lead, "gold turns"), (sign.until_fall, "win rate below SFT's"))
        if estimate
    ]
    shares = [
        {"category": sign.quantity, "entry": entry, "mean": share} | bounds
        for sign in ordered
        for entry, share, bounds in (
            ("over-optimized, before gold turns", sign.before, {}),
            ("good: false alarms", sign.false_alarms, {"low": sign.false_low, "high": sign.false_high}),
        )
    ]
    panels = [dots(leads, x="updates from the alarm until")] if leads else []
    panels.append(dots(shares, x="share of runs that alarm", zero=TOLERATED))
    return alt.hconcat(*panels).resolve_scale(color="independent")


def _paragraph(signs: Sequence[Sign], first: Sign | None, bad: Sequence[Member], good: Sequence[Member]) -> str:
    turned = _by_seed({run: turn(run) for run in bad})
    assert turned is not None
    opening = (
        f"In {len(bad)} over-optimized runs ({turned.seeds} seeds) the gold of samples turns at update"
        f" {turned.text('.0f')}; {len(good)} good runs say how often a threshold is passed without need."
    )
    if first is None:
        return f"{opening} Every quantity alarms in more than {TOLERATED:.0%} of the good runs, so none is a sign."
    verb = "moves first: it passes" if first.before >= HALF else "comes closest, but passes"
    lead = f", by {first.lead.text('+.0f')} updates on average where it alarms at all" if first.lead else ""
    until = (
        f" Its alarm comes {first.until_fall.text('.0f')} updates before the win rate is below SFT's."
        if first.until_fall
        else ""
    )
    others = [
        f"{sign.quantity} ({sign.before:.0%})"
        for sign in sorted(signs, key=lambda sign: sign.rank, reverse=True)
        if sign is not first and sign.before > 0 and sign.false_alarms <= TOLERATED
    ]
    noisy = [f"{sign.quantity} ({sign.false_alarms:.0%})" for sign in signs if sign.false_alarms > TOLERATED]
    return (
        f"{opening} {first.quantity} {verb} its threshold before that in {first.before:.0%} of them{lead}, and in"
        f" {first.false_alarms:.0%} of the good runs.{until} Others that move before gold turns in some runs:"
        f" {listed(others)}. Too many false alarms: {listed(noisy)}."
    )
