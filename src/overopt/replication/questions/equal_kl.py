"""Is maximum entropy better or worse than KL *at equal KL spent*?

Along its training a run passes through many distances from the reference. Gold and win rate are read off at the same
distance in all runs, so that a run is not called worse for having gone further.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from overopt.replication.members import Member, Members
from overopt.replication.questions.answer import (
    NOT_TESTED,
    UNDECIDED,
    Answer,
    Estimate,
    listed,
    not_tested,
    over_seeds,
)
from overopt.replication.questions.drawing import dots
from overopt.replication.questions.measures import curve, usable

NAME = "equal-kl"
QUESTION = "Is maximum entropy better or worse than KL at equal KL spent?"

SIZES = ("1B", "2.8B", "6.9B")
BUDGETS = (1.0, 2.0, 4.0, 8.0)
"""Nats per completion at which runs are compared."""
PRIMARY = 4.0
"""The budget that decides."""
WINDOW = 5
"""Steps of the running mean of KL and gold in training."""
COARSEST = 1.0
"""Widest pair of neighboring points between which a value is interpolated, in units of the budget. At 1, nothing is
interpolated from the start of a run, which is at 0."""

KL, NONE, ENTROPY, SLOW = "KL", "no regularizer", "maximum entropy", "maximum entropy, lower learning rate"
GOLD, WIN_RATE = "gold of samples", "win rate"


def answer(members: Members) -> Answer:
    """Decided by the gold of sampled completions at `PRIMARY`, maximum entropy less KL, mean of sizes by seed."""
    values = {
        (size, family, measure, budget): found
        for size in SIZES
        for family, runs in families(members, size).items()
        for measure in (GOLD, WIN_RATE)
        for budget in BUDGETS
        if (found := by_seed(runs, measure, budget))
    }
    differences = {
        (family, measure, budget): less
        for family in (ENTROPY, SLOW, NONE)
        for measure in (GOLD, WIN_RATE)
        for budget in BUDGETS
        if (less := _difference(values, family, KL, measure, budget)) is not None
    }
    if not differences:
        return not_tested(NAME, QUESTION, "no seed has runs under KL and under maximum entropy that spend the same KL")
    primary = differences.get((ENTROPY, GOLD, PRIMARY))
    decision = {1: "maximum entropy is better", -1: "maximum entropy is worse", 0: UNDECIDED}
    control = _difference(values, ENTROPY, NONE, GOLD, PRIMARY)
    table = [
        {"family": family, "measure": measure, "kl": budget} | found.row()
        for (family, measure, budget), found in differences.items()
    ]
    return Answer(
        NAME,
        QUESTION,
        NOT_TESTED if primary is None else decision[primary.sign],
        _paragraph(differences, primary, control),
        _chart(table),
        table,
    )


def families(members: Members, size: str) -> dict[str, list[Member]]:
    """The runs of one size by what they are regularized with; all at the high learning rate but `SLOW`."""
    fast, slow = (usable(members.of(f"ME-{size}-{lr}")) for lr in ("1e-6", "1e-7"))
    return {
        KL: usable([*members.of(f"KL-{size}"), *members.of(f"KL-relaxed-{size}")]),
        NONE: [run for run in fast if run.setting.get("coef") == 0],
        ENTROPY: [run for run in fast if run.setting.get("coef") != 0],
        SLOW: [run for run in slow if run.setting.get("coef") != 0],
    }


def by_seed(runs: Iterable[Member], measure: str, budget: float) -> dict[int, float]:
    """The measure at a KL budget, mean over those runs of each seed that spend it."""
    found: dict[int, list[float]] = {}
    for run in runs:
        value = at_kl(*(_in_training(run) if measure == GOLD else _evaluated(run)), budget)
        if value is not None:
            found.setdefault(run.seed, []).append(value)
    return {seed: float(np.mean(values)) for seed, values in found.items()}


def at_kl(kl: ArrayLike, values: ArrayLike, budget: float) -> float | None:
    """The value where KL is `budget`: linear between neighbors on both sides of it, mean over all such pairs.

    Pairs further apart than `COARSEST` budgets do not count: what happened between them is not known. None without any.
    """
    x, y = np.asarray(kl, dtype=float), np.asarray(values, dtype=float)
    found = [
        float(y[i] + (y[i + 1] - y[i]) * (budget - x[i]) / (x[i + 1] - x[i]))
        for i in range(len(x) - 1)
        if min(x[i], x[i + 1]) <= budget < max(x[i], x[i + 1]) and abs(x[i + 1] - x[i]) <= COARSEST * budget
    ]
    return float(np.mean(found)) if found else None


def _in_training(run: Member) -> tuple[Any, Any]:
    """Running means of KL and gold over the updates that have both."""
    kl, gold = (
        dict(zip(*run.series[name], strict=True)) if name in run.series else {} for name in ("kl_ref", "gold_mean")
    )
    steps = sorted(kl.keys() & gold.keys())
    if len(steps) < WINDOW:
        return [], []
    weights = np.ones(WINDOW) / WINDOW
    smooth = [np.convolve([series[step] for step in steps], weights, "valid") for series in (kl, gold)]
    return smooth[0], smooth[1]


def _evaluated(run: Member) -> tuple[Any, Any]:
    kl, won = (dict(zip(*curve(run, name), strict=True)) for name in ("kl_ref", "win_rate"))
    steps = sorted(kl.keys() & won.keys())
    return [kl[step] for step in steps], [won[step] for step in steps]


def _difference(
    values: Mapping[tuple[str, str, str, float], Mapping[int, float]], one: str, other: str, measure: str, budget: float
) -> Estimate | None:
    """One family less another, paired by size and seed, mean of sizes by seed; None without a pair."""
    found: dict[int, list[float]] = {}
    for size in SIZES:
        a, b = (values.get((size, family, measure, budget), {}) for family in (one, other))
        for seed in a.keys() & b.keys():
            found.setdefault(seed, []).append(a[seed] - b[seed])
    return over_seeds([float(np.mean(found[seed])) for seed in sorted(found)]) if found else None


def _chart(table: Sequence[Mapping[str, Any]]) -> Any:
    import altair as alt

    panels = []
    for measure in (GOLD, WIN_RATE):
        rows = [
            {**row, "category": f"at {_nats(row['kl'])}", "entry": f"{row['family']} less KL"}
            for row in sorted(table, key=lambda row: float(row["kl"]))
            if row["measure"] == measure
        ]
        if rows:
            panels.append(dots(rows, x=f"{measure}: less that of KL at the same KL"))
    return alt.hconcat(*panels)


def _paragraph(
    differences: Mapping[tuple[str, str, float], Estimate], primary: Estimate | None, control: Estimate | None
) -> str:
    if primary is None:
        said = f"No seed has runs under KL and under maximum entropy that both pass {PRIMARY:g} nats in training."
    else:
        verdict = {1: "better than", -1: "worse than", 0: "not distinguishable from"}[primary.sign]
        said = (
            f"Where both have spent {PRIMARY:g} nats, maximum entropy is {verdict} KL: the gold of sampled completions"
            f" differs by {primary.text()} (mean of sizes; {primary.seeds} seeds)."
        )
    others = [
        f"{found.text()} at {_nats(budget)}"
        for (family, measure, budget), found in differences.items()
        if family == ENTROPY and measure == GOLD and budget != PRIMARY
    ]
    won = [
        f"{found.text()} at {_nats(budget)}"
        for (family, measure, budget), found in differences.items()
        if family == ENTROPY and measure == WIN_RATE
    ]
    slow = differences.get((SLOW, GOLD, PRIMARY))
    parts = [
        said,
        f"Elsewhere the difference of gold is {listed(others)}." if others else "",
        f"The win rate differs by {listed(won)}."
        if won
        else "No two evaluations lie close enough to compare win rates.",
        f"At the lower learning rate, maximum entropy less KL is {slow.text()} in gold." if slow else "",
        f"Against no regularizer at the same KL, maximum entropy is {control.text()} in gold." if control else "",
    ]
    return " ".join(part for part in parts if part)


def _nats(budget: float) -> str:
    return f"{budget:g} nat{'s' * (budget != 1)}"
