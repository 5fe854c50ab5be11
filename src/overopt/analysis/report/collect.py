"""Reads runs from paths and groups those that can be compared. Unreadable runs are named and left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from overopt.analysis.report.settings import setting_of
from overopt.analysis.run_summary import RunSummary, evaluations_of, summarize_run
from overopt.errors import UserError
from overopt.outcomes import JUDGED_STAGES
from overopt.records import Run, describe_dropped, find_readable_runs, load_run, reading_run
from overopt.records.study_folder import failed_gate_before

Points = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True)
class JudgedCompletion:
    """The judged completion of one prompt."""

    outcome: float | None
    length: int | None


@dataclass(frozen=True, eq=False)  # compared and hashed by identity
class ReportedRun:
    """Everything that the page shows of one run except its samples."""

    name: str
    """The name in the table: the run's own, with a part of its path if two runs share it."""
    run: Run
    row: RunSummary
    evaluations: list[dict[str, Any]]
    metrics: dict[str, Points]
    """Steps and values of every metric where it is present and finite."""
    first: dict[str, JudgedCompletion]
    """The completions of the first evaluation with samples, by prompt."""
    last: dict[str, JudgedCompletion]
    setting: str
    """A name for the configuration apart from its seed: equal for runs that differ only in their seeds."""

    @property
    def seed(self) -> Any:
        return self.run.info.get("seed", self.run.config.get("seed"))

    @property
    def task(self) -> str:
        task = self.run.config.get("task", "?")
        return str(task.get("name", "?") if isinstance(task, Mapping) else task)

    @property
    def last_step(self) -> int:
        steps = [points[0][-1] for points in self.metrics.values()] + [row["step"] for row in self.evaluations]
        return int(max(steps, default=0))

    @property
    def mark(self) -> str:
        """A remark on a run that did not finish, to be read before its numbers; empty otherwise."""
        match self.run.status:
            case "running":
                steps = self.run.info.get("steps")
                return f"still running, drawn up to step {self.last_step}" + (f" of {steps}" if steps else "")
            case "diverged":
                return f"diverged at step {self.run.info.get('diverged_at', self.last_step)}"
            case "stopped":
                stopped, best = self.run.info.get("stopped_at", self.last_step), self.run.info.get("go_back_to")
                return f"stopped early at step {stopped} ({self.run.info.get('reason')}); go back to step {best}"
            case "failed":
                return f"failed after step {self.last_step}"
        return ""

    @property
    def dropped(self) -> list[str]:
        """A sentence for each data set of which many records were left out; none if the run did not record it."""
        return describe_dropped(self.run.info.get("dropped", {}), self.run.info.get("kept", {}))

    def evaluated(self, value: str) -> Points:
        """Steps and values of a field of the evaluations where it is present."""
        rows = [row for row in self.evaluations if row.get(value) is not None]
        return np.array([row["step"] for row in rows], float), np.array([row[value] for row in rows], float)


@dataclass(frozen=True)
class Group:
    """Comparable runs: of one stage and judged on the same prompts."""

    title: str
    slug: str
    """The group's name in files and anchors."""
    records: tuple[ReportedRun, ...]

    @property
    def last_step(self) -> int:
        return max(record.last_step for record in self.records)

    @property
    def has_seeds(self) -> bool:
        """Whether some runs differ only in their seeds; colors then stand for settings instead of runs."""
        seeds = {(record.setting, str(record.seed)) for record in self.records}
        return len(seeds) > len({record.setting for record in self.records})

    def entry(self, record: ReportedRun) -> str:
        """The legend entry of a run."""
        return record.setting if self.has_seeds else record.name

    @property
    def entries(self) -> list[str]:
        return list(dict.fromkeys(self.entry(record) for record in self.records))


@dataclass(frozen=True)
class Collection:
    groups: tuple[Group, ...]
    bases: tuple[ReportedRun, ...]
    """Runs of stages that are not judged: SFT policies and reward models."""
    left_out: tuple[str, ...]
    """The paths that could not be read, with the reason."""

    @property
    def records(self) -> tuple[ReportedRun, ...]:
        return tuple(record for group in self.groups for record in group.records) + self.bases


def collect(paths: Sequence[Path]) -> Collection:
    """Read every run at or below the paths; UserError if no run can be read."""
    left_out: list[str] = []
    found = {run.resolve(): run for path in paths for run in find_readable_runs(path, left_out)}
    runs: list[tuple[Run, dict[str, Any]]] = []
    for path in found.values():
        try:
            with reading_run(path):
                run = load_run(path)
                runs.append((run, _read(run)))
        except UserError as error:
            left_out.append(str(error))
    if not runs:
        where = ", ".join(map(str, paths))
        raise UserError("\n".join([f"no run to report on; looked in {where} and below", *left_out]))
    names = distinct_names([run for run, _ in runs])
    settings = _setting_names([parts.pop("setting") for _, parts in runs])
    records = [
        ReportedRun(name=name, run=run, setting=setting, **parts | {"row": replace(parts["row"], run=name)})
        for name, setting, (run, parts) in zip(names, settings, runs, strict=True)
    ]
    judged = [record for stage in JUDGED_STAGES for record in records if record.run.stage == stage]
    bases = tuple(record for record in records if record.run.stage not in JUDGED_STAGES)
    return Collection(tuple(_groups(judged)), bases, tuple(left_out))


def distinct_names(runs: Sequence[Run]) -> list[str]:
    """A distinct name for each run: its own, preceded by the part of its path in which runs of that name differ."""
    together: dict[str, list[tuple[str, ...]]] = {}
    for run in runs:
        together.setdefault(run.name, []).append(_above(run))
    return ["/".join([*_own_part(_above(run), together[run.name]), run.name]) for run in runs]


def _above(run: Run) -> tuple[str, ...]:
    return run.path.resolve().parent.parts


def _own_part(path: tuple[str, ...], paths: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """The middle of a path, without the parts that all paths share at their start and at their end."""
    start = _shared_start(paths)
    end = _shared_start([other[start:][::-1] for other in paths])
    return path[start : len(path) - end]


def _shared_start(paths: Sequence[tuple[str, ...]]) -> int:
    """The number of leading parts that all paths share."""
    return sum(1 for _ in takewhile(lambda parts: len(set(parts)) == 1, zip(*paths, strict=False)))


def _read(run: Run) -> dict[str, Any]:
    gate = failed_gate_before(run.path) if run.stage in JUDGED_STAGES else None
    evaluations = evaluations_of(run)
    return {
        "evaluations": evaluations if run.stage in JUDGED_STAGES else run.evaluations(),
        **_samples(run, evaluations),
        "row": summarize_run(run.name, run.config, run, gate=gate),
        "metrics": _metrics(run),
        "setting": setting_of(run.config),
    }


def _samples(run: Run, evaluations: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, JudgedCompletion]]:
    """The completions of the first and the last evaluation with samples, by prompt.

    Every step is opened, so that a damaged file is noticed here.
    """
    found: dict[int, dict[str, JudgedCompletion]] = {}
    judge, split = judge_of(evaluations)
    for step in run.sample_steps():
        columns = run.sample_columns(step, ["prompt_id", "split", "judge", "outcome", "length"])
        rows = zip(*columns.values(), strict=True)
        found[step] = {
            row[0]: JudgedCompletion(*row[3:]) for row in rows if row[1] == split and row[2] in (judge, None)
        }
    steps = [step for step, rows in found.items() if rows]
    return {"first": found[steps[0]] if steps else {}, "last": found[steps[-1]] if steps else {}}


def judge_of(evaluations: Sequence[Mapping[str, Any]]) -> tuple[Any, Any]:
    """Judge and split of the first evaluation."""
    first = evaluations[0] if evaluations else {}
    return first.get("judge"), first.get("split")


def _metrics(run: Run) -> dict[str, Points]:
    columns = run.metrics()
    steps = np.array(columns.pop("step"), dtype=float)
    metrics = {}
    for name, column in columns.items():
        values = np.array(column, dtype=float)  # None becomes NaN
        present = np.isfinite(values)
        if present.any():
            metrics[name] = (steps[present], values[present])
    return metrics


def _groups(records: Iterable[ReportedRun]) -> Iterator[Group]:
    together: dict[tuple[str, ...], list[ReportedRun]] = {}
    for record in records:
        together.setdefault(_group_key(record), []).append(record)
    titles = [_title(key) for key in together]
    stages = Counter(key[0] for key in together)
    for place, (key, members) in enumerate(together.items()):
        title = titles[place] if titles.count(titles[place]) == 1 else f"{titles[place]}, prompts {key[3]}"
        slug = key[0] if stages[key[0]] == 1 else f"{key[0]}-{place + 1}"
        yield Group(title, slug, tuple(members))


def _group_key(record: ReportedRun) -> tuple[str, str, str, str]:
    """Stage, task, split and prompt set."""
    first = record.evaluations[0] if record.evaluations else {}
    return (
        str(record.run.stage),
        record.task,
        str(first.get("split", record.run.info.get("split", "?"))),
        str(first.get("prompt_set", "?")),
    )


def _title(key: Sequence[str]) -> str:
    return f"{key[0].capitalize()} runs, {key[1]} task" + (f", {key[2]} split" if key[2] != "?" else "")


def _setting_names(settings: Sequence[tuple[str, str]]) -> list[str]:
    """Short names of settings, numbered where different settings would share a name."""
    alike: dict[str, list[str]] = {}
    for short, key in dict.fromkeys(settings):
        alike.setdefault(short, []).append(key)
    return [short if len(alike[short]) == 1 else f"{short} ({alike[short].index(key) + 1})" for short, key in settings]
