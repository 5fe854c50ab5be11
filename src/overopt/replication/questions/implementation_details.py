"""How much of the curves could an implementation detail make?

Maximum entropy at two learning rates, plain and with one detail changed at a time. Each change is compared with what
the learning rate does, which is the phenomenon that the curves are about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from overopt.replication.members import Member, Members
from overopt.replication.questions.answer import Answer, Estimate, listed, not_tested, over_seeds
from overopt.replication.questions.drawing import dots
from overopt.replication.questions.measures import baselines, curve, last, pooled_label, usable

NAME = "implementation-details"
QUESTION = "How much of the curves could an implementation detail make?"

PLAIN = "plain"
DETAILS = {
    "sentinel": "masked log-probabilities count 1.0",
    "missing-eos-replace": "missing EOS: score replaced by -1",
    "missing-eos-keep": "missing EOS: score kept",
    "advantage-grpo": "advantage divided by the group's deviation",
    "advantage-whitened": "advantage whitened over the batch",
    "bonus-temperature-1": "bonus at temperature 1",
    "temperature-1": "everything at temperature 1",
}
LEAST = 0.1
"""Mean difference of win rates over training from which a detail that differs significantly is said to matter."""


def answer(members: Members) -> Answer:
    rates = sorted({run.lr for run in usable(members.of(PLAIN))}, reverse=True)
    if not rates:
        return not_tested(NAME, QUESTION, f"no usable run of the row {PLAIN!r}")
    effects = {
        (detail, lr): found
        for detail in DETAILS
        for lr in rates
        if (found := _differences(_at(members, detail, lr), _at(members, PLAIN, lr)))
    }
    matter = [key for key, found in effects.items() if matters(found["win rate"])]
    decision = f"{len(matter)} of {len(effects)} comparisons matter"
    table = [
        {"detail": detail, "lr": lr, "label": pooled_label(_at(members, detail, lr)), "measure": measure} | found.row()
        for (detail, lr), differences in effects.items()
        for measure, found in differences.items()
    ]
    paragraph = _paragraph(members, rates, effects, matter) + baselines(members)
    return Answer(NAME, QUESTION, decision, paragraph, _chart(table) if table else None, table)


def matters(difference: Estimate) -> bool:
    """Whether the interval over seeds excludes 0 and the difference is large enough to be seen in a curve."""
    return difference.sign != 0 and abs(difference.mean) >= LEAST


def _at(members: Members, row: str, lr: float) -> list[Member]:
    return [run for run in usable(members.of(row)) if run.lr == lr]


def mean_over_training(run: Member, name: str) -> float:
    """The mean of an evaluated number over the steps of a run, by trapezoids: its curve's area over its length."""
    steps, values = curve(run, name)
    return float(np.trapezoid(values, steps) / (steps[-1] - steps[0]))


def _differences(changed: Sequence[Member], plain: Sequence[Member]) -> dict[str, Estimate]:
    """Changed less plain over the seeds that have both: means over training of win rate and proxy, last KL and length.

    Empty without such seeds.
    """
    pairs = [(one, other) for one in changed for other in plain if one.seed == other.seed]
    if not pairs:
        return {}
    return {
        "win rate": over_seeds(
            [mean_over_training(a, "win_rate") - mean_over_training(b, "win_rate") for a, b in pairs]
        ),
        "proxy": over_seeds(
            [mean_over_training(a, "proxy_mean") - mean_over_training(b, "proxy_mean") for a, b in pairs]
        ),
        "final KL": over_seeds([last(a, "kl_ref") - last(b, "kl_ref") for a, b in pairs]),
        "final length": over_seeds([last(a, "len_mean") - last(b, "len_mean") for a, b in pairs]),
    }


def _chart(table: Sequence[Mapping[str, Any]]) -> Any:
    import altair as alt

    titles = {
        "win rate": "win rate, mean over training: less the plain run's",
        "proxy": "proxy, mean over training: less the plain run's",
        "final KL": "final KL: less the plain run's (nats)",
        "final length": "final length: less the plain run's (tokens)",
    }
    panels = [
        dots(
            [
                {**row, "category": DETAILS[row["detail"]], "entry": f"learning rate {row['lr']:g}"}
                for row in table
                if row["measure"] == measure
            ],
            x=title,
        )
        for measure, title in titles.items()
    ]
    return alt.concat(*panels, columns=2)


def _paragraph(
    members: Members,
    rates: Sequence[float],
    effects: Mapping[tuple[str, float], Mapping[str, Estimate]],
    matter: Sequence[tuple[str, float]],
) -> str:
    if not effects:
        return "No detail was run under a seed and a learning rate that the plain run has."
    phenomenon = _differences(_at(members, PLAIN, rates[0]), _at(members, PLAIN, rates[-1]))
    scale = (
        f" The learning rate ({rates[0]:g} instead of {rates[-1]:g}) moves it by {phenomenon['win rate'].text()}."
        if len(rates) > 1 and phenomenon
        else ""
    )
    largest = max(effects, key=lambda key: abs(effects[key]["win rate"].mean))
    changed = [
        f"{DETAILS[detail]} at learning rate {lr:g} ({pooled_label(_at(members, PLAIN, lr))} becomes {label})"
        for detail, lr in effects
        if (label := pooled_label(_at(members, detail, lr))) != pooled_label(_at(members, PLAIN, lr))
    ]
    named = [f"{DETAILS[d]} at {lr:g} ({effects[d, lr]['win rate'].text()})" for d, lr in matter]
    return (
        f"Of {len(effects)} comparisons with the plain run, {len(matter)} change the win rate averaged over training by"
        f" at least {LEAST:g} and significantly: {listed(named)}. About {0.05 * len(effects):.1f} would by chance, if"
        f" size did not matter.{scale} The largest difference is that of {DETAILS[largest[0]]} at {largest[1]:g},"
        f" {effects[largest]['win rate'].text()}. The pooled outcome changes with {listed(changed)}."
    )
