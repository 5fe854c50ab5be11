"""From paths to groups of comparable runs. What cannot be read is named and left out."""

from __future__ import annotations

import json
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
from overopt.records import Run, describe_dropped, find_runs, load_run, reading_run

JUDGED = ("online", "offline")
"""Stages whose runs are labelled; the others are what these stand on."""

Points = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True)
class JudgedCompletion:
    """What was found of one prompt's completion."""

    outcome: float | None
    length: int | None


@dataclass(frozen=True, eq=False)  # compared and hashed as the one object it is
class ReportedRun:
    """All that the page says of one run, but for its samples."""

    name: str
    """As in the table; longer than the run's own where two have the same."""
    run: Run
    row: RunSummary
    evaluations: list[dict[str, Any]]
    metrics: dict[str, Points]
    """Steps and values of every metric, where it is present and finite."""
    first: dict[str, JudgedCompletion]
    """By prompt, of the first evaluation with samples."""
    last: dict[str, JudgedCompletion]
    setting: str
    """What two runs share that differ in their seeds only."""

    @property
    def seed(self) -> Any:
        return self.run.info.get("seed", self.run.config.get("seed"))

    @property
    def last_step(self) -> int:
        steps = [points[0][-1] for points in self.metrics.values()] + [row["step"] for row in self.evaluations]
        return int(max(steps, default=0))

    @property
    def mark(self) -> str:
        """What is to be known before the numbers are read; empty for a run that finished."""
        match self.run.status:
            case "running":
                steps = self.run.info.get("steps")
                return f"still running, drawn up to step {self.last_step}" + (f" of {steps}" if steps else "")
            case "diverged":
                return f"diverged at step {self.run.info.get('diverged_at', self.last_step)}"
            case "stopped":
                stopped, best = self.run.info.get("stopped_at", self.last_step), self.run.info.get("go_back_to")
                return f"stopped in time at step {stopped} ({self.run.info.get('reason')}); go back to step {best}"
            case "failed":
                return f"failed after step {self.last_step}"
        return ""

    @property
    def dropped(self) -> list[str]:
        """What its readers left out of each data set, if it is much; nothing of runs that did not record it."""
        return describe_dropped(self.run.info.get("dropped", {}), self.run.info.get("kept", {}))

    def evaluated(self, value: str) -> Points:
        """Steps and values of a field of the evaluations, where it is present."""
        pairs = [(row["step"], row[value]) for row in self.evaluations if row.get(value) is not None]
        return _points([step for step, _ in pairs], [number for _, number in pairs])


@dataclass(frozen=True)
class Group:
    """Runs of one stage, judged on the same prompts: these can be compared."""

    title: str
    slug: str
    """Of its files and anchors."""
    records: tuple[ReportedRun, ...]

    @property
    def last_step(self) -> int:
        return max(record.last_step for record in self.records)

    @property
    def has_seeds(self) -> bool:
        """Whether some runs differ in their seeds only; then color says the setting, not the run."""
        seeds = {(record.setting, str(record.seed)) for record in self.records}
        return len(seeds) > len({record.setting for record in self.records})

    def entry(self, record: ReportedRun) -> str:
        """A run's entry in the legend."""
        return record.setting if self.has_seeds else record.name

    @property
    def entries(self) -> list[str]:
        return list(dict.fromkeys(self.entry(record) for record in self.records))


@dataclass(frozen=True)
class Collection:
    groups: tuple[Group, ...]
    bases: tuple[ReportedRun, ...]
    """SFT policies and reward models among the runs."""
    left_out: tuple[str, ...]
    """What could not be read, and why."""

    @property
    def records(self) -> tuple[ReportedRun, ...]:
        return tuple(record for group in self.groups for record in group.records) + self.bases


def collect(paths: Sequence[Path]) -> Collection:
    """Read every run at or below the paths; UserError if none can be."""
    left_out: list[str] = []
    found = {run.resolve(): run for path in paths for run in _find(path, left_out)}
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
    judged = [record for stage in JUDGED for record in records if record.run.stage == stage]
    bases = tuple(record for record in records if record.run.stage not in JUDGED)
    return Collection(tuple(_groups(judged)), bases, tuple(left_out))


def distinct_names(runs: Sequence[Run]) -> list[str]:
    """Each run's name; where several have the same, after that part of its path in which they differ."""
    together: dict[str, list[tuple[str, ...]]] = {}
    for run in runs:
        together.setdefault(run.name, []).append(_above(run))
    return ["/".join([*_own_part(_above(run), together[run.name]), run.name]) for run in runs]


def _above(run: Run) -> tuple[str, ...]:
    return run.path.resolve().parent.parts


def _own_part(path: tuple[str, ...], paths: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """A path without what all of them have in common at their starts and at their ends."""
    start = _alike(paths)
    end = _alike([other[start:][::-1] for other in paths])
    return path[start : len(path) - end]


def _alike(paths: Sequence[tuple[str, ...]]) -> int:
    """How many parts all of them start with."""
    return sum(1 for _ in takewhile(lambda parts: len(set(parts)) == 1, zip(*paths, strict=False)))


def _find(path: Path, left_out: list[str]) -> Iterator[Path]:
    """Run directories at or below a path; one folder that may not be read does not hide its neighbors."""
    try:
        yield from find_runs(path)
    except UserError as error:
        left_out.append(str(error))
    except OSError:
        try:
            folders = sorted(entry for entry in path.iterdir() if entry.is_dir())
        except OSError as error:
            left_out.append(f"{path}: cannot be read ({error.strerror})")
            return
        for folder in folders:
            yield from _find(folder, left_out)


def _read(run: Run) -> dict[str, Any]:
    gate = _failed_gate(run) if run.stage in JUDGED else None
    evaluations = evaluations_of(run)
    return {
        "evaluations": evaluations if run.stage in JUDGED else run.evaluations(),
        **_samples(run, evaluations),
        "row": summarize_run(run.name, run.config, run, gate=gate),
        "metrics": _metrics(run),
        "setting": setting_of(run.config),
    }


def _samples(run: Run, evaluations: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, JudgedCompletion]]:
    """Of the first and the last evaluation with samples. All steps are opened, so that a damaged file is found now."""
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
    """Judge and split of a run's own evaluations."""
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


def _failed_gate(run: Run) -> str | None:
    """The gate of a study that failed before this run, from the summary beside the study's runs."""
    folder = run.path.resolve().parent
    try:
        summary = json.loads((folder.parent / "summary.json").read_bytes()) if folder.name == "runs" else []
    except Exception:  # no study's folder
        return None
    rows = summary if isinstance(summary, list) else []
    gates = [row.get("gate") for row in rows if isinstance(row, Mapping) and row.get("run") == run.path.resolve().name]
    return str(gates[0]) if gates and gates[0] is not None else None


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
    """Stage, task, split and prompts."""
    task = record.run.config.get("task", "?")
    first = record.evaluations[0] if record.evaluations else {}
    return (
        str(record.run.stage),
        str(task.get("name", "?") if isinstance(task, Mapping) else task),
        str(first.get("split", record.run.info.get("split", "?"))),
        str(first.get("prompt_set", "?")),
    )


def _title(key: Sequence[str]) -> str:
    return f"{key[0].capitalize()} runs, {key[1]} task" + (f", {key[2]} split" if key[2] != "?" else "")


def _setting_names(settings: Sequence[tuple[str, str]]) -> list[str]:
    """Short names of settings, numbered where two that differ would be named alike."""
    alike: dict[str, list[str]] = {}
    for short, key in settings:
        keys = alike.setdefault(short, [])
        if key not in keys:
            keys.append(key)
    return [short if len(alike[short]) == 1 else f"{short} ({alike[short].index(key) + 1})" for short, key in settings]


def _points(x: Sequence[float], y: Sequence[float]) -> Points:
    return np.array(x, dtype=float), np.array(y, dtype=float)
