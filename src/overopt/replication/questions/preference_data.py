"""How much do the number of preference pairs and the noise of their labels matter?

Offline losses on the pairs themselves, and online runs against reward models of the same pairs: does a better reward
model remove the failure, or delay it?
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from overopt.replication.members import Member, Members
from overopt.replication.questions.answer import Answer, Estimate, listed, not_tested, over_seeds
from overopt.replication.questions.drawing import dots
from overopt.replication.questions.measures import (
    FAILED,
    baselines,
    curve,
    gain,
    last,
    lasting_fall,
    pooled_label,
    reward_model_of,
    usable,
)

NAME = "preference-data"
QUESTION = "Number of pairs and label noise: does a better reward model remove the failure, or delay it?"

OFFLINE = ("SimPO", "DPO")
ONLINE = {"none": "no regularizer", "ME": "maximum entropy", "KL": "KL"}


class Pairs(NamedTuple):
    """The preference pairs behind a run."""

    number: int
    label_scale: float

    @property
    def text(self) -> str:
        return f"{self.number} pairs, label scale {self.label_scale:g}"


Runs = Mapping[Pairs, list[Member]]


def answer(members: Members) -> Answer:
    runs = {kind: _by_cell(kind, members.runs, members) for kind in ONLINE}
    agreement = _agreement(members)
    cells = [cell for cell in sorted(agreement) if all(runs[kind].get(cell) for kind in ("none", "ME"))]
    if len(cells) < 2:
        return not_tested(NAME, QUESTION, "fewer than two kinds of pairs have usable online runs behind them")
    worst, *_, best = sorted(cells, key=lambda cell: agreement[cell].mean)
    findings = {kind: _finding(runs[kind][worst], runs[kind][best]) for kind in ("none", "ME")}
    decision = "; ".join(f"{ONLINE[kind]}: a better reward model {verb}" for kind, (verb, _) in findings.items())
    offline = _offline(members)
    named = {ONLINE[kind]: found for kind, found in runs.items()} | offline
    table = [row for kind, found in named.items() for cell in sorted(found) for row in _rows(kind, cell, found[cell])]
    table += [{"kind": "reward model", "cell": c.text, "measure": "agreement"} | agreement[c].row() for c in cells]
    paragraph = _paragraph(runs, offline, agreement, worst, best, findings) + baselines(members)
    return Answer(NAME, QUESTION, decision, paragraph, _chart(table, list(offline)), table)


def _offline(members: Members) -> dict[str, Runs]:
    """The offline runs by loss and learning rate."""
    runs = [run for run in members.runs if run.stage == "offline"]
    rates = sorted({run.lr for run in runs})
    found = {
        f"{loss} at {lr:g}": _by_cell(loss, [r for r in runs if r.lr == lr], members)
        for loss in OFFLINE
        for lr in rates
    }
    return {kind: cells for kind, cells in found.items() if cells}


def _by_cell(kind: str, runs: Iterable[Member], members: Members) -> Runs:
    found: dict[Pairs, list[Member]] = {}
    for run in usable(runs):
        if run.row.rpartition("-")[0] == kind and (cell := _cell(run, members)):
            found.setdefault(cell, []).append(run)
    return found


def _cell(run: Member, members: Members) -> Pairs | None:
    parent = reward_model_of(run, members)
    pairs = None if parent is None else parent.config["pairs"]
    return None if pairs is None else Pairs(int(pairs["count"]), float(pairs["label_scale"]))


def _agreement(members: Members) -> dict[Pairs, Estimate]:
    """Agreement of the reward models with gold on held-out pairs, over seeds, by the pairs they were trained on."""
    found: dict[Pairs, list[float]] = {}
    for run in members.runs:
        if run.stage == "reward_model" and len(curve(run, "gold_agreement")[1]):
            cell = Pairs(int(run.config["pairs"]["count"]), float(run.config["pairs"]["label_scale"]))
            found.setdefault(cell, []).append(last(run, "gold_agreement"))
    return {cell: over_seeds(values) for cell, values in found.items()}


def _finding(worst: Sequence[Member], best: Sequence[Member]) -> tuple[str, Estimate | None]:
    """What a better reward model does to the failure, and by how many steps the fall comes later.

    Removed: the pooled outcome is a failure with the worst, and GOOD with the best. Delayed: the interval over seeds of
    the difference between their steps of fall is above 0.
    """
    later = [_fall(one) - _fall(other) for one in best for other in worst if one.seed == other.seed]
    delay = over_seeds(later) if later else None
    failed = pooled_label(worst) in FAILED
    if not failed:
        return "changes nothing, since there is no failure with the worst", delay
    if pooled_label(best) == "GOOD":
        return "removes the failure", delay
    if delay is not None and delay.sign:
        return "delays the failure" if delay.sign > 0 else "hastens the failure", delay
    return "neither removes nor clearly delays the failure", delay


def _fall(run: Member) -> float:
    """The step of the lasting fall; a run without one counts as if it fell one evaluation after its last."""
    steps = sorted(run.won)
    return min(lasting_fall(run), 2 * steps[-1] - steps[-2])


def _rows(kind: str, cell: Pairs, runs: Sequence[Member]) -> list[dict[str, Any]]:
    place = {"kind": kind, "cell": cell.text, "label": pooled_label(runs)}
    measures = {
        "change of win rate": [gain(run) for run in runs],
        "peak": [float(curve(run, "win_rate")[1].max()) for run in runs],
        "win_rate": [last(run, "win_rate") for run in runs],
        "step of fall": [_fall(run) for run in runs],
    }
    return [place | {"measure": name} | over_seeds(values).row() for name, values in measures.items()]


def _chart(table: Sequence[Mapping[str, Any]], offline: Sequence[str]) -> Any:
    import altair as alt

    def panel(title: str, kinds: Iterable[str], measure: str, x: str, zero: float | None) -> Any:
        chosen = [row for row in table if row["kind"] in kinds and row["measure"] == measure]
        rows = [{**row, "category": row["cell"], "entry": row["kind"]} for row in chosen]
        return dots(rows, x=x, title=title, zero=zero)

    change = "change of the win rate from SFT"
    panels = [
        panel("reward models", ["reward model"], "agreement", "agreement with gold on held-out pairs", None),
        panel("online, against these reward models", ONLINE.values(), "change of win rate", change, 0.0),
        panel(
            "online, against these reward models",
            ONLINE.values(),
            "step of fall",
            "step from which the win rate is below SFT's",
            None,
        ),
        panel("offline, on these pairs", offline, "change of win rate", change, 0.0),
    ]
    return alt.concat(*panels, columns=2).resolve_scale(color="independent")


def _paragraph(
    runs: Mapping[str, Runs],
    offline: Mapping[str, Runs],
    agreement: Mapping[Pairs, Estimate],
    worst: Pairs,
    best: Pairs,
    findings: Mapping[str, tuple[str, Estimate | None]],
) -> str:
    said = []
    for kind, (verb, delay) in findings.items():
        ends = [over_seeds([gain(run) for run in runs[kind][cell]]).text() for cell in (worst, best)]
        later = "" if delay is None else f"; the lasting fall below SFT comes {delay.text('+.0f')} steps later"
        said.append(f"with {ONLINE[kind]} it {verb} (win rate less SFT's: {ends[0]} and {ends[1]}{later})")
    kl = [f"{cell.text}: {pooled_label(runs['KL'][cell])}" for cell in sorted(agreement) if runs["KL"].get(cell)]
    effects = [sentence for kind, found in offline.items() if (sentence := _effects(kind, found))]
    return (
        f"The best reward model ({best.text}) agrees with gold on {agreement[best].text('.2f')} of held-out pairs, the"
        f" worst ({worst.text}) on {agreement[worst].text('.2f')}. From the worst to the best, {listed(said)}."
        f" With KL the pooled outcome is {listed(kl)}. " + " ".join(effects)
    ).rstrip()


def _effects(kind: str, runs: Runs) -> str:
    """What more pairs and less noise do to the win rate of an offline loss: means over the levels of the other."""
    counts, scales = sorted({cell.number for cell in runs}), sorted({cell.label_scale for cell in runs})
    if len(counts) < 2 or len(scales) < 2:
        return ""
    by_seed = {
        seed: {cell: gain(run) for cell, found in runs.items() for run in found if run.seed == seed}
        for seed in {run.seed for found in runs.values() for run in found}
    }
    whole = [found for found in by_seed.values() if len(found) == len(counts) * len(scales)]
    if not whole:
        return ""
    more = over_seeds(
        [sum(f[Pairs(counts[-1], s)] - f[Pairs(counts[0], s)] for s in scales) / len(scales) for f in whole]
    )
    cleaner = over_seeds(
        [sum(f[Pairs(c, scales[-1])] - f[Pairs(c, scales[0])] for c in counts) / len(counts) for f in whole]
    )
    return (
        f"The final win rate of {kind} changes by {more.text()} with {counts[-1]} instead of {counts[0]} pairs, and"
        f" by {cleaner.text()} with label scale {scales[-1]:g} instead of {scales[0]:g}."
    )
