"""What the questions measure on a run, and on runs that differ in their seeds alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from overopt.outcomes import COLLAPSED, OVER_OPTIMIZED, SIGNIFICANCE, Label, paired
from overopt.replication.cells import Cell
from overopt.replication.members import Member, Members, Points

FAILED: tuple[Label, ...] = (*OVER_OPTIMIZED, COLLAPSED)
"""Labels of runs that end worse than SFT, or fell from their best back to it."""


def usable(runs: Iterable[Member]) -> list[Member]:
    """The runs with a label, by seed: they ended, were judged, and lie behind no closed gate."""
    return sorted((run for run in runs if run.outcome.label is not None), key=lambda run: run.seed)


def curve(run: Member, name: str) -> Points:
    """Steps and values of a number of the run's evaluations; of several at a step the last."""
    values = {row["step"]: float(row[name]) for row in run.evaluations if row.get(name) is not None}
    steps = sorted(values)
    return np.array(steps, dtype=float), np.array([values[step] for step in steps])


def last(run: Member, name: str) -> float:
    """A number of the run's last evaluation that has it; NaN without one."""
    values = curve(run, name)[1]
    return float(values[-1]) if len(values) else float("nan")


def gain(run: Member) -> float:
    """The last win rate of a usable run less SFT's."""
    return run.outcome.numbers["difference"]


def proxy_gain(run: Member) -> float:
    """The last proxy of a usable run less SFT's."""
    return run.outcome.numbers["proxy_change"]


def step_of_fall(run: Member) -> float:
    """The first evaluated step whose win rate is below SFT's by two standard errors; infinite if none is."""
    return next((float(step) for step in sorted(run.won.keys() - {0}) if _is_below(run, step)), float("inf"))


def lasting_fall(run: Member) -> float:
    """The first evaluated step from which on the win rate is below SFT's by two standard errors at every evaluation.

    Infinite if it is not at the last.
    """
    found = float("inf")
    for step in sorted(run.won.keys() - {0}, reverse=True):
        if not _is_below(run, step):
            break
        found = float(step)
    return found


def _is_below(run: Member, step: int) -> bool:
    difference = paired(run.won[step], run.won[0])
    return difference.mean < 0 and difference.mean <= -SIGNIFICANCE * difference.se


def pooled_label(runs: Sequence[Member]) -> Label:
    """The label of usable runs that differ in their seeds alone, at least one, judged together."""
    return Cell(runs[0].row, runs[0].setting, tuple(runs), len(runs)).label


def reward_model_of(run: Member, members: Members) -> Member | None:
    """The run of the study that trained the reward model behind a run."""
    return next((one for one in members.runs if one.name == run.parents.get("reward_model")), None)


def baselines(members: Members) -> str:
    """A sentence on how the reward models compare with counting characters and words, on the same held-out pairs."""
    found = [last(run, "above_baselines") for run in members.runs if run.stage == "reward_model"]
    known = [value for value in found if np.isfinite(value)]
    if not known:
        return ""
    beaten = sum(value >= SIGNIFICANCE for value in known)
    return (
        f" Of {len(known)} reward models {beaten} order held-out pairs better, by two standard errors, than the best of"
        " counting characters, words or rare words."
    )
