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

from overopt.analysis.disagreement import judges_in, told_apart
from overopt.analysis.report.settings import setting_of
from overopt.analysis.run_summary import RunSummary, check_judges, evaluations_of, is_own, summarize_run
from overopt.errors import UserError
from overopt.outcomes import JUDGED_STAGES, judged_samples, judges_of
from overopt.records import Run, describe_dropped, find_readable_runs, load_run, reading_run
from overopt.records.study_folder import failed_gate_before

Points = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True)
class OtherJudge:
    """A judge besides the one whose label comes first."""

    id: str
    """Its name in the records."""
    evaluations: list[dict[str, Any]]


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
    """By the judge whose label comes first."""
    is_own: bool
    """Whether that judge is the one that the run was trained with."""
    others: dict[str, OtherJudge]
    """The other judges, by the names in `row`."""
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

    def evaluations_by(self, judge: str | None) -> list[dict[str, Any]]:
        """The evaluations by one of the judges; none if it judged nothing here."""
        if judge == self.row.judge:
            return self.evaluations
        return self.others[judge].evaluations if judge in self.others else []

    def evaluated(self, value: str, judge: str | None = None) -> Points:
        """Steps and values of a field of the evaluations where it is present, by default those of the first judge."""
        rows = self.evaluations if judge is None else self.evaluations_by(judge)
        rows = [row for row in rows if row.get(value) is not None]
        return np.array([row["step"] for row in rows], float), np.array([row[value] for row in rows], float)


@dataclass(frozen=True)
class Group:
    """Comparable runs: of one stage and judged on the same prompts by the same judge."""

    title: str
    slug: str
    """The group's name in files and anchors."""
    records: tuple[ReportedRun, ...]

    @property
    def judges(self) -> list[str]:
        """Who judged the runs: the judge whose labels come first, then the others."""
        return judges_in([record.row for record in self.records])

    @property
    def names_judges(self) -> bool:
        """Whether outcomes and win rates must say whose they are: not only those of the runs' own judge are shown."""
        return len(self.judges) > 1 or not all(record.is_own for record in self.records)

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


def collect(paths: Sequence[Path], judges: Sequence[str] = ()) -> Collection:
    """Read every run at or below the paths; UserError if no run can be read, or if a judge of that name judged none.

    `judges` are shown in this order, and the labels of the first count. By default the run's own judge is the first of
    all that judged it.
    """
    left_out: list[str] = []
    found = {run.resolve(): run for path in paths for run in find_readable_runs(path, left_out)}
    runs: list[tuple[Run, dict[str, Any]]] = []
    for path in found.values():
        try:
            with reading_run(path):
                run = load_run(path)
                runs.append((run, _read(run, judges)))
        except UserError as error:
            left_out.append(str(error))
    if not runs:
        where = ", ".join(map(str, paths))
        raise UserError("\n".join([f"no run to report on; looked in {where} and below", *left_out]))
    check_judges(judges, [run for run, _ in runs])
    names = distinct_names([run for run, _ in runs])
    settings = _setting_names([parts.pop("setting") for _, parts in runs])
    rows = told_apart([replace(parts.pop("row"), run=name) for name, (_, parts) in zip(names, runs, strict=True)])
    records = [
        ReportedRun(name=row.run, run=run, row=row, others=_others(row, parts.pop("others")), setting=setting, **parts)
        for row, setting, (run, parts) in zip(rows, settings, runs, strict=True)
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


def _read(run: Run, judges: Sequence[str]) -> dict[str, Any]:
    if run.stage not in JUDGED_STAGES:
        row = summarize_run(run.name, run.config, run, judges=judges_of(run)[:1])
        evaluations = run.evaluations()
        return _parts(run, row, evaluations, evaluations_of(run))
    row = summarize_run(run.name, run.config, run, gate=failed_gate_before(run.path), judges=judges)
    evaluations = evaluations_of(run, row.judge)
    return _parts(run, row, evaluations, evaluations)


def _parts(
    run: Run, row: RunSummary, evaluations: list[dict[str, Any]], of_completions: list[dict[str, Any]]
) -> dict[str, Any]:
    others = [other.judge for other in row.others if other.judge is not None]
    return {
        "row": row,
        "evaluations": evaluations,
        "is_own": row.judge is None or is_own(run, row.judge),
        "others": [OtherJudge(judge, evaluations_of(run, judge)) for judge in others],
        **_samples(run, of_completions),
        "metrics": _metrics(run),
        "setting": setting_of(run.config),
    }


def _others(row: RunSummary, others: Sequence[OtherJudge]) -> dict[str, OtherJudge]:
    """The other judges by the names that a row gives them."""
    return {str(judged.judge): other for judged, other in zip(row.others, others, strict=True)}


def _samples(run: Run, evaluations: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, JudgedCompletion]]:
    """The completions of the first and the last evaluation with samples, by prompt.

    Every step is opened, so that a damaged file is noticed here.
    """
    found: dict[int, dict[str, JudgedCompletion]] = {}
    for step in run.sample_steps():
        rows = judged_samples(run, step, ["prompt_id", "outcome", "length"], *judge_of(evaluations))
        found[step] = {row[0]: JudgedCompletion(*row[1:]) for row in rows}
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
    titles = _titles(list(together))
    stages = Counter(key[0] for key in together)
    for place, (key, members) in enumerate(together.items()):
        slug = key[0] if stages[key[0]] == 1 else f"{key[0]}-{place + 1}"
        yield Group(titles[place], slug, tuple(members))


def _group_key(record: ReportedRun) -> tuple[str, ...]:
    """Stage, task, split, prompt set and judge."""
    first = record.evaluations[0] if record.evaluations else {}
    return (
        str(record.run.stage),
        record.task,
        str(first.get("split", record.run.info.get("split", "?"))),
        str(first.get("prompt_set", "?")),
        str(record.row.judge or "nobody"),
    )


def _titles(keys: Sequence[tuple[str, ...]]) -> list[str]:
    """A title for each group, which tells prompts and judges only where groups differ in them."""
    short = [
        f"{stage.capitalize()} runs, {task} task" + f", {split} split" * (split != "?")
        for stage, task, split, *_ in keys
    ]
    titles = []
    for title, (*_, prompts, judge) in zip(short, keys, strict=True):
        alike = [key for other, key in zip(short, keys, strict=True) if other == title]
        title += f", prompts {prompts}" * (len({key[3] for key in alike}) > 1)
        titles.append(title + f", judged by {judge}" * (len({key[4] for key in alike}) > 1))
    return titles


def _setting_names(settings: Sequence[tuple[str, str]]) -> list[str]:
    """Short names of settings, numbered where different settings would share a name."""
    alike: dict[str, list[str]] = {}
    for short, key in dict.fromkeys(settings):
        alike.setdefault(short, []).append(key)
    return [short if len(alike[short]) == 1 else f"{short} ({alike[short].index(key) + 1})" for short, key in settings]
