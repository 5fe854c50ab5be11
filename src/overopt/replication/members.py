"""The runs of a study as entries of its table: row, setting and seed, with everything that their records say.

A study lists its rows (`ME-1B-1e-6`), each in some settings (`coef` 0, 0.1, ...) and under every seed. Its folder says
in `members.json` which run is which. `load_members` reads a folder of runs; `exchange.py` keeps the same as Parquet.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from overopt.analysis.run_summary import check_judges, evaluations_of
from overopt.errors import UserError
from overopt.outcomes import JUDGED_STAGES, Outcome, checkpoints, label
from overopt.records import Run, load_run
from overopt.records.layout import MEMBERS, RUNS

Points = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Steps, and a metric's values at them."""

Setting = Mapping[str, float | str]
"""What distinguishes the runs of a row, by short name: `{"coef": 0.1}`, `{"gamma": 0.5}`, `{}`."""


@dataclass(frozen=True, eq=False)
class Member:
    """A run of a study. A series or value that the record does not have is absent."""

    name: str
    """The run's folder: `ME-1B-1e-6-coef=0.1-seed=100`."""
    row: str
    setting: Setting
    seed: int
    stage: str
    status: str
    config: Mapping[str, Any]
    outcome: Outcome
    """The run's label with its numbers; None with the reason where it has none, such as a closed gate."""
    series: Mapping[str, Points] = field(default_factory=dict)
    """Metrics of training (`metrics.jsonl`)."""
    evaluations: Sequence[Mapping[str, Any]] = ()
    """The run's own evaluations by step; without those of held-out pairs for stages that complete prompts."""
    won: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    """By evaluated step the outcome against the reference by prompt: 1 win, 1/2 tie, 0 loss."""
    proxy: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    """By evaluated step the proxy's score of the same completions."""
    commit: str | None = None
    """Hash of overopt's commit that trained the run, with `-dirty` if there were changes; None outside a checkout."""
    parents: Mapping[str, str] = field(default_factory=dict)
    """Names of the runs that this one starts from, by role: `policy`, `reward_model`."""

    @property
    def size(self) -> str | None:
        """`1B`, `2.8B` or `6.9B`, from the row's name."""
        return size_of(self.row)

    @property
    def lr(self) -> float:
        return float(self.config["lr"])

    @property
    def gate(self) -> str | None:
        """Why a gate withholds this run's label, if one does."""
        return self.outcome.reason if self.outcome.reason.startswith(CLOSED_GATE) else None


CLOSED_GATE = "a gate is closed: "
"""Begins the reason of an outcome that a gate withholds."""


def place_of(setting: Setting) -> list[tuple[str, bool, float, str]]:
    """A sort key of settings: numbers by size, before text."""
    return [
        (k, isinstance(v, str), 0.0 if isinstance(v, str) else float(v), str(v)) for k, v in sorted(setting.items())
    ]


def size_of(row: str) -> str | None:
    found = re.search(r"(?:^|-)(\d+(?:\.\d+)?B)(?:-|$)", row)
    return found[1] if found else None


@dataclass(frozen=True)
class Members:
    """The runs of a study that left a record, and what the study planned."""

    study: str
    scale: str
    """The scale set: `miniature`, `pythia`, or `quick`, which stands one size for all three."""
    runs: tuple[Member, ...]
    planned: tuple[tuple[str, Setting, int], ...]
    """(row, setting, seed) of every run of the study, whether or not it left a record."""

    @cached_property
    def seeds(self) -> tuple[int, ...]:
        return tuple(sorted({seed for _, _, seed in self.planned}))

    def of(self, row: str, **setting: float | str) -> list[Member]:
        """The runs of a row that have (at least) these settings, by setting and seed."""
        found = [run for run in self.runs if run.row == row and setting.items() <= run.setting.items()]
        return sorted(found, key=lambda run: (place_of(run.setting), run.seed))

    def values(self, row: str, name: str) -> list[float]:
        """The planned values of a setting in a row, ascending."""
        return sorted({float(setting[name]) for r, setting, _ in self.planned if r == row and name in setting})

    def rows(self) -> list[str]:
        return list(dict.fromkeys(row for row, _, _ in self.planned))

    def of_seed(self, seed: int) -> Members:
        """The study as if this seed were its only one."""
        runs = tuple(run for run in self.runs if run.seed == seed)
        return Members(self.study, self.scale, runs, tuple(plan for plan in self.planned if plan[2] == seed))


def load_members(folder: Path, judge: str | None = None) -> Members:
    """Read the runs of a study's folder; runs that have not begun are only planned.

    They are labeled by a judge that has judged them, by default each by its own. Gates are the study's own.
    """
    plan = read_plan(folder)
    records = dict(_records(folder, plan["runs"]))
    check_judges([judge] if judge else [], records.values())
    runs = [
        _member(run, name, plan["runs"][name], _closed_gate(plan["runs"][name], records), judge)
        for name, run in records.items()
    ]
    planned = tuple((e["row"], e["setting"], e["seed"]) for e in plan["runs"].values())
    return Members(plan["study"], plan["scale"], tuple(runs), planned)


def read_plan(folder: Path) -> dict[str, Any]:
    """`members.json` of a study's folder: `{study, scale, runs: {name: {row, setting, seed, gates}}}`."""
    file = folder / MEMBERS
    if not folder.is_dir():
        raise UserError(f"{folder}: {'not a directory' if folder.exists() else 'does not exist'}; expected a study's")
    try:
        plan: dict[str, Any] = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{folder}: holds no {MEMBERS}; name the --out folder of `overopt study`") from None
    except Exception as error:
        raise UserError(f"{file}: not JSON: {error}") from error
    return plan


def _member(run: Run, name: str, entry: Mapping[str, Any], gate: str | None, judge: str | None) -> Member:
    judge = judge if run.stage in JUDGED_STAGES else None
    outcome = Outcome(None, CLOSED_GATE + gate) if gate else label(run, judge=judge)
    evaluated = checkpoints(run, judge=judge)
    return Member(
        name=name,
        row=entry["row"],
        setting=entry["setting"],
        seed=entry["seed"],
        stage=run.stage or "?",
        status=run.status,
        config=run.config,
        outcome=outcome,
        series=dict(_series(run.metrics())),
        evaluations=_evaluations(run) if judge is None else evaluations_of(run, judge),
        won={checkpoint.step: checkpoint.outcome for checkpoint in evaluated},
        proxy={checkpoint.step: checkpoint.proxy for checkpoint in evaluated},
        commit=_commit(run.info),
        parents={parent["role"]: PurePath(parent["path"]).name for parent in run.info.get("parents", [])},
    )


def _evaluations(run: Run) -> list[dict[str, Any]]:
    return [row for row in run.evaluations() if run.stage == "reward_model" or row["judge"] != "pairs"]


def _commit(info: Mapping[str, Any]) -> str | None:
    commit = info.get("commit")
    return f"{commit}-dirty" if commit and info.get("diff_hash") else commit


def _series(columns: Mapping[str, list[Any]]) -> Iterator[tuple[str, Points]]:
    steps = np.asarray(columns["step"], dtype=float)
    for name, column in columns.items():
        values = np.array([np.nan if v is None or isinstance(v, list) else v for v in column], dtype=float)
        known = np.isfinite(values)
        if name != "step" and known.any():
            yield name, (steps[known], values[known])


def _records(folder: Path, names: Iterable[str]) -> Iterator[tuple[str, Run]]:
    for name in names:
        with suppress(UserError):  # not begun
            yield name, load_run(folder / RUNS / name)


def _closed_gate(entry: Mapping[str, Any], records: Mapping[str, Run]) -> str | None:
    """The first gate before a run that was not reached, and what was found there."""
    for gate in entry.get("gates", ()):
        parent = records.get(gate["run"])
        value = None if parent is None else parent.last_value(gate["value"])
        place = f"{gate['run']}.{gate['value']}"
        if value is None:
            return f"{place} is not recorded"
        if value < gate["at_least"]:
            return f"{place} is {value:.3f}, below {gate['at_least']:g}"
    return None
