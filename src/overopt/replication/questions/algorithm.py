"""Does the failure depend on the algorithm or on the regularizer?

Five algorithms under three regularizers, two-way: which of the two decides the final win rate?
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

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
from overopt.replication.questions.measures import FAILED, baselines, gain, last, pooled_label, proxy_gain, usable

NAME = "algorithm"
QUESTION = "Does the failure depend on the algorithm or on the regularizer?"

ALGORITHMS = ("RLOO", "GRPO", "PPO-token", "REINFORCE++", "LCO")
REGULARIZERS = {"none": "no regularizer", "KL": "KL", "ME": "maximum entropy"}

Cells = Mapping[tuple[str, str], list[Member]]


def answer(members: Members) -> Answer:
    cells = {
        (algorithm, regularizer): usable(members.of(f"{algorithm}-{regularizer}"))
        for algorithm in ALGORITHMS
        for regularizer in REGULARIZERS
    }
    missing = [f"{algorithm}-{regularizer}" for (algorithm, regularizer), runs in cells.items() if not runs]
    if missing:
        return not_tested(NAME, QUESTION, f"no usable run of {listed(missing)}")
    advantage, shares = _shares(cells)
    decision = {1: "on the regularizer", -1: "on the algorithm", 0: UNDECIDED}[advantage.sign]
    table = [row for cell, runs in cells.items() for row in _rows(*cell, runs)]
    return Answer(NAME, QUESTION, decision, _paragraph(cells, advantage, shares, members), _chart(table), table)


def _shares(cells: Cells) -> tuple[Estimate, tuple[Estimate, Estimate, Estimate]]:
    """Share of the regularizer less that of the algorithm, then both and their interaction's, over seeds.

    Shares are of the sum of squares of the change of the win rate over the cells of one seed, which has all of them.
    """
    found = []
    for seed in sorted(set.intersection(*({run.seed for run in runs} for runs in cells.values()))):
        value = np.array(
            [[next(gain(run) for run in cells[a, r] if run.seed == seed) for r in REGULARIZERS] for a in ALGORITHMS]
        )
        found.append(two_way(value))
    if not found:
        nothing = Estimate(float("nan"), float("nan"), float("nan"), 0)
        return nothing, (nothing, nothing, nothing)
    parts = np.array(found)
    rows, columns, both = (over_seeds([float(value) for value in parts[:, place]]) for place in range(3))
    return over_seeds([float(value) for value in parts[:, 1] - parts[:, 0]]), (columns, rows, both)


def two_way(table: Any) -> tuple[float, float, float]:
    """Shares of rows, columns and their interaction in the sum of squares of a table without repetitions."""
    value = np.asarray(table, dtype=float)
    rows, columns = value.mean(axis=1, keepdims=True), value.mean(axis=0, keepdims=True)
    total = float(((value - value.mean()) ** 2).sum())
    if total == 0:
        return 0.0, 0.0, 0.0
    by_row = float(((rows - value.mean()) ** 2).sum()) * value.shape[1] / total
    by_column = float(((columns - value.mean()) ** 2).sum()) * value.shape[0] / total
    return by_row, by_column, max(0.0, 1 - by_row - by_column)


def _rows(algorithm: str, regularizer: str, runs: list[Member]) -> list[dict[str, Any]]:
    """The row of a cell for each panel of the figure."""
    place = {"category": algorithm, "entry": REGULARIZERS[regularizer], "label": pooled_label(runs)}
    measures = {
        "win_rate": [last(run, "win_rate") for run in runs],
        "change of win rate": [gain(run) for run in runs],
        "change of proxy": [proxy_gain(run) for run in runs],
        "kl_ref": [last(run, "kl_ref") for run in runs],
    }
    known = {name: values for name, values in measures.items() if np.isfinite(values).all()}
    return [place | {"measure": name} | over_seeds(values).row() for name, values in known.items()]


def _chart(table: list[dict[str, Any]]) -> Any:
    import altair as alt

    titles = {
        "win_rate": "final win rate",
        "change of proxy": "change of the proxy",
        "kl_ref": "final KL to the reference (nats)",
    }
    panels = [
        dots([row for row in table if row["measure"] == name], x=title, zero=0.0 if name == "change of proxy" else None)
        for name, title in titles.items()
        if any(row["measure"] == name for row in table)
    ]
    return alt.hconcat(*panels)


def _paragraph(cells: Cells, advantage: Estimate, shares: tuple[Estimate, Estimate, Estimate], members: Members) -> str:
    labels = {cell: pooled_label(runs) for cell, runs in cells.items()}
    counts = []
    for regularizer, name in REGULARIZERS.items():
        of = {a: labels[a, regularizer] for a in ALGORITHMS}
        failed, good = ([a for a in ALGORITHMS if of[a] in wanted] for wanted in (FAILED, ("GOOD",)))
        counts.append(
            f"with {name} {len(failed)} of {len(ALGORITHMS)} algorithms end below SFT ({listed(failed)})"
            f" and {len(good)} above it ({listed(good)})"
        )
    if not advantage.seeds:
        return f"Pooled over seeds, {'; '.join(counts)}. No seed has all settings, so their shares are {NOT_TESTED}."
    columns, rows, both = (estimate.text(".2f") for estimate in shares)
    verdict = {
        1: "So the regularizer, not the algorithm, decides what becomes of a run",
        -1: "So the algorithm, not the regularizer, decides what becomes of a run",
        0: "Which of the two decides more is not settled by these seeds",
    }[advantage.sign]
    return (
        f"Pooled over {len({run.seed for runs in cells.values() for run in runs})} seeds, {'; '.join(counts)}."
        f" Of the variation of the final win rate between the {len(cells)} settings, the regularizer accounts for"
        f" {columns}, the algorithm for {rows} and their interaction for {both}"
        f" (means over seeds, 95 % interval). {verdict}: the difference of their shares is {advantage.text()}."
        + baselines(members)
    )
