"""The status of runs that may be running, from their records: step, time left, numbers, stalls."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from overopt.errors import UserError
from overopt.records import FileStamps, Run, file_stamps, find_runs, load_run, reading_run

QUIET_SECONDS = 60.0
"""Least silence of a stalled run: evaluations, checkpoints and a busy disk take time."""

UNTIMED_SECONDS = 900.0
"""The same for a run with fewer than two recorded steps, which may be sampling its pairs."""

TIMES_A_STEP = 10.0
"""Multiple of its longest step after which a silent run counts as stalled."""

CURVES = (("score_mean", "proxy"), ("rewards_acc", "accuracy"), ("accuracy", "accuracy"), ("loss", "loss"))
"""Metrics, in order of preference, whose curve is shown until a run has been evaluated twice."""


@dataclass(frozen=True)
class RunStatus:
    """The status of one run. None: not known."""

    name: str
    stage: str = "?"
    status: str = "running"
    """The status in the record, `stalled` or `unreadable`."""
    step: int | None = None
    steps: int | None = None
    silent: float | None = None
    """Seconds since a running run wrote anything."""
    left: float | None = None
    """Seconds until the last step, at the median pace of the latest steps."""
    numbers: dict[str, float] = field(default_factory=dict)
    """The latest `win_rate`, `proxy`, `gold` and `kl_ref`."""
    curve: tuple[float, ...] = ()
    curve_of: str = ""
    reason: str = ""


class StatusReader:
    """Reads runs repeatedly; a run that has written nothing since the last time is not read again."""

    def __init__(self, places: Sequence[Path]) -> None:
        for place in places:
            find_runs(place)  # refuses what is not there
        self.places = list(places)
        self._seen: dict[Path, tuple[FileStamps, RunStatus, float]] = {}

    def read(self, now: float | None = None) -> list[RunStatus]:
        """The status of every run at or below the places now, in the order of the places and then of names."""
        now = time.time() if now is None else now
        found: dict[Path, None] = {}
        for place in self.places:
            try:
                found |= dict.fromkeys(find_runs(place))
            except (UserError, OSError):  # a folder that is just being removed
                continue
        names = _names(list(found))
        return [replace(self._status(path, now), name=names[path]) for path in found]

    def _status(self, path: Path, now: float) -> RunStatus:
        stamps = file_stamps(path)
        seen = self._seen.get(path)
        if seen is None or seen[0] != stamps:
            status, patience = _read(path)
            self._seen[path] = seen = (stamps, status, patience)
        status, patience = seen[1:]
        if status.status != "running" or not stamps:
            return status
        silent = max(0.0, now - max(stamp[1] for stamp in stamps) / 1e9)  # another machine's clock may be ahead
        return replace(status, silent=silent, status="stalled" if silent > patience else "running")


def _read(path: Path) -> tuple[RunStatus, float]:
    """The recorded status, and the seconds of silence after which the run counts as stalled."""
    try:
        with reading_run(path):
            run = load_run(path)
            elapsed = [seconds for seconds in run.timings().get("elapsed", []) if seconds is not None]
            status = _recorded_status(run)
    except UserError as error:
        return RunStatus(path.name, status="unreadable", reason=str(error)), UNTIMED_SECONDS
    pace = [after - before for before, after in pairwise(elapsed) if after > before]
    if status.status == "running" and pace and status.step is not None and status.steps:
        status = replace(status, left=max(0, status.steps - status.step) * statistics.median(pace[-50:]))
    return status, max(QUIET_SECONDS, TIMES_A_STEP * max(pace)) if pace else UNTIMED_SECONDS


def _recorded_status(run: Run) -> RunStatus:
    metrics, evaluations = list(run.iter_metrics()), run.evaluations()
    diverged = f"at step {run.info.get('diverged_at', '?')}" if run.status == "diverged" else ""
    curve, curve_of = _curve(metrics, evaluations)
    return RunStatus(
        name=run.name,
        stage=run.stage or "?",
        status=run.status,
        step=metrics[-1]["step"] if metrics else None,
        steps=run.info.get("steps"),
        numbers=_numbers(metrics, evaluations),
        curve=curve,
        curve_of=curve_of,
        reason=diverged or run.info.get("reason", ""),
    )


def _numbers(metrics: Sequence[dict[str, Any]], evaluations: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Proxy and gold of evaluations, which are judged, are preferred to those of newer training steps."""
    series = {
        "win_rate": _series(evaluations, "win_rate"),
        "proxy": _series(evaluations, "proxy_mean") or _series(metrics, "score_mean"),
        "gold": _series(evaluations, "gold_mean"),
        "kl_ref": _series(metrics, "kl_ref"),
    }
    return {name: values[-1] for name, values in series.items() if values}


def _curve(metrics: Sequence[dict[str, Any]], evaluations: Sequence[dict[str, Any]]) -> tuple[tuple[float, ...], str]:
    if len(rates := _series(evaluations, "win_rate")) > 1:
        return tuple(rates), "win rate"
    for name, word in CURVES:
        if values := _series(metrics, name):
            return tuple(values), word
    return (), ""


def _series(rows: Sequence[dict[str, Any]], name: str) -> list[float]:
    return [row[name] for row in rows if name in row]


def _names(paths: Sequence[Path]) -> dict[Path, str]:
    """The name of each run's folder, with as many of its parent folders as distinguish it from the others."""
    parts = {path: path.resolve().parts for path in paths}
    names: dict[Path, str] = {}
    for path, own in parts.items():
        others = [other for other in parts.values() if other != own]
        count = next((n for n in range(1, len(own)) if all(other[-n:] != own[-n:] for other in others)), len(own))
        names[path] = "/".join(own[-count:])
    return names
