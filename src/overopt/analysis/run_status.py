"""How runs stand while they go, from their records alone: step, time left, last numbers, whether they are stalled."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeGuard

from overopt.errors import UserError
from overopt.records import Run, find_runs, layout, load_run, reading_run

QUIET_SECONDS = 60.0
"""No run is stalled before: an evaluation, a checkpoint or a busy disk take their time."""

UNTIMED_SECONDS = 900.0
"""The same for a run without two steps on record, which may be sampling its pairs."""

TIMES_A_STEP = 10.0
"""How many of its longest steps a run may be silent."""

CURVES = (("score_mean", "proxy"), ("rewards_acc", "accuracy"), ("accuracy", "accuracy"), ("loss", "loss"))
"""Metrics whose curve is shown while a run has not been evaluated twice, first come first shown."""


@dataclass(frozen=True)
class RunStatus:
    """What is to be seen of one run. None: not known."""

    name: str
    stage: str = "?"
    status: str = "running"
    """As in the record, or `stalled` or `unreadable`."""
    step: int | None = None
    steps: int | None = None
    silent: float | None = None
    """Seconds since anything was written, of a run that is going."""
    left: float | None = None
    """Seconds, at the median pace of the last steps."""
    numbers: dict[str, float] = field(default_factory=dict)
    """`win_rate`, `proxy`, `gold` and `kl_ref`, the latest of each."""
    curve: tuple[float, ...] = ()
    curve_of: str = ""
    reason: str = ""


Marks = tuple[tuple[str, int, int], ...]
"""Name, time and size of what a run writes."""


class StatusReader:
    """Looks at runs again and again; one that wrote nothing since the last look is not read again."""

    def __init__(self, places: Sequence[Path]) -> None:
        for place in places:
            find_runs(place)  # refuses what is not there
        self.places = list(places)
        self._seen: dict[Path, tuple[Marks, RunStatus, float]] = {}

    def read(self, now: float | None = None) -> list[RunStatus]:
        """All runs that there are by now, in the order of the places and of their names."""
        now = time.time() if now is None else now
        found: dict[Path, None] = {}
        for place in self.places:
            try:
                found |= dict.fromkeys(find_runs(place))
            except (UserError, OSError):  # a folder that is just being removed
                continue
        names = _names(list(found))
        return [replace(self._glance(path, now), name=names[path]) for path in found]

    def _glance(self, path: Path, now: float) -> RunStatus:
        marks = _marks(path)
        seen = self._seen.get(path)
        if seen is None or seen[0] != marks:
            status, patience = _read(path)
            self._seen[path] = seen = (marks, status, patience)
        status, patience = seen[1:]
        if status.status != "running" or not marks:
            return status
        silent = max(0.0, now - max(mark[1] for mark in marks) / 1e9)  # another machine's clock may be ahead
        return replace(status, silent=silent, status="stalled" if silent > patience else "running")


def _marks(path: Path) -> Marks:
    marks = []
    for name in (layout.INFO, layout.METRICS, layout.TIMINGS, layout.EVALUATIONS, layout.SAMPLES, layout.CHECKPOINTS):
        try:
            found = os.stat(path / name)
        except OSError:
            continue
        marks.append((name, found.st_mtime_ns, found.st_size))
    return tuple(marks)


def _read(path: Path) -> tuple[RunStatus, float]:
    """What the record says, and for how many seconds the run may be silent."""
    try:
        with reading_run(path):
            run = load_run(path)
            metrics, timings, evaluations = list(run.iter_metrics()), run.timings(), run.evaluations()
            elapsed = [float(value) for value in timings.get("elapsed", []) if _is_number(value)]
            status = _glance_at(run, metrics, evaluations)
    except UserError as error:
        return RunStatus(path.name, status="unreadable", reason=str(error)), UNTIMED_SECONDS
    pace = [after - before for before, after in pairwise(elapsed) if after > before]
    if status.status == "running" and pace and status.step is not None and status.steps:
        status = replace(status, left=max(0, status.steps - status.step) * statistics.median(pace[-50:]))
    return status, max(QUIET_SECONDS, TIMES_A_STEP * max(pace)) if pace else UNTIMED_SECONDS


def _glance_at(run: Run, metrics: Sequence[dict[str, Any]], evaluations: Sequence[dict[str, Any]]) -> RunStatus:
    steps = run.info.get("steps")
    last = metrics[-1]["step"] if metrics else None
    curve, curve_of = _curve(metrics, evaluations)
    return RunStatus(
        name=run.name,
        stage=str(run.stage or "?"),
        status=run.status,
        step=int(last) if _is_number(last) else None,
        steps=int(steps) if _is_number(steps) else None,
        numbers=_numbers(metrics, evaluations),
        curve=curve,
        curve_of=curve_of,
        reason=_reason(run),
    )


def _reason(run: Run) -> str:
    if run.status == "diverged":
        return f"at step {run.info.get('diverged_at', '?')}"
    return str(run.info.get("reason") or "")


def _numbers(metrics: Sequence[dict[str, Any]], evaluations: Sequence[dict[str, Any]]) -> dict[str, float]:
    """A step's proxy and KL are newer than an evaluation's, but of samples; the evaluation's are what is judged."""
    sources = {
        "win_rate": (evaluations, "win_rate"),
        "proxy": (evaluations, "proxy_mean"),
        "gold": (evaluations, "gold_mean"),
        "kl_ref": (metrics, "kl_ref"),
    }
    series = {name: _series(*source) for name, source in sources.items()}
    series["proxy"] = series["proxy"] or _series(metrics, "score_mean")
    return {name: values[-1] for name, values in series.items() if values}


def _curve(metrics: Sequence[dict[str, Any]], evaluations: Sequence[dict[str, Any]]) -> tuple[tuple[float, ...], str]:
    if len(rates := _series(evaluations, "win_rate")) > 1:
        return tuple(rates), "win rate"
    for name, word in CURVES:
        if values := _series(metrics, name):
            return tuple(values), word
    return (), ""


def _series(rows: Sequence[dict[str, Any]], name: str) -> list[float]:
    return [float(row[name]) for row in rows if _is_number(row.get(name))]


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _names(paths: Sequence[Path]) -> dict[Path, str]:
    """A run's folder, with as many of the folders above as tell it from the others."""
    parts = {path: path.resolve().parts for path in paths}
    names: dict[Path, str] = {}
    for path, own in parts.items():
        others = [other for other in parts.values() if other != own]
        count = next((n for n in range(1, len(own)) if all(other[-n:] != own[-n:] for other in others)), len(own))
        names[path] = "/".join(own[-count:])
    return names
