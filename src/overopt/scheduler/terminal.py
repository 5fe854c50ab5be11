"""Reports the progress of jobs: bars with the time left on a terminal, occasional lines in a pipe or a log."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from overopt.scheduler.jobs import Event, Failed, Finished, Job, Noticed, Progressed, Skipped, Started
from overopt.scheduler.time_left import PRIOR_SECONDS, TimeLeft, duration_text

ESTIMATE_EVERY = 0.5
"""Least seconds between two estimates of the time left beside bars."""
LINE_EVERY = 10.0
"""Least seconds between two progress lines in a pipe."""

SHOWN = ("win_rate", "score_mean", "kl_ref", "accuracy", "rewards_acc", "loss")
"""Metrics that may stand beside a bar, in order of preference; two fit."""


class Reporter:
    """A context manager whose instance is the `on_event` of `run_jobs`."""

    def __init__(
        self,
        jobs: Sequence[Job],
        workers: int,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stream = stream or sys.stderr
        self.clock = clock
        self.started = clock()
        # the cost of a single job says nothing about its seconds
        self.time_left = TimeLeft(jobs, workers, PRIOR_SECONDS if len(jobs) > 1 else 0.0)
        self._last_line = self.started
        self._last_estimate = -math.inf
        self._bars = _Bars(self.stream) if self.stream.isatty() else None

    def __enter__(self) -> Self:
        if self._bars:
            self._bars.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars:
            self._bars.progress.stop()

    def __call__(self, event: Event) -> None:
        now = self.clock()
        self.time_left.note(event, now)
        match event:
            case Started(name):
                self.say(f"started {name}") if self._bars is None else self._bars.add(name)
            case Progressed(name, step, steps, metrics):
                self._progressed(name, step, steps, metrics, now)
            case Noticed(name, text):
                self.say(f"{name}: {text}")
            case Finished(name, seconds):
                self._ended(name, f"finished {name} in {duration_text(seconds)}")
            case Failed(name, message, trace):
                self._ended(name, f"FAILED {name}: {message}" + (f"\n{trace}" if trace else ""))
            case Skipped(name, because):
                self.say(f"skipped {name}, because {because} failed")

    def say(self, text: str) -> None:
        """Print a line that stays, above the bars if there are any."""
        self._last_line = self.clock()
        if self._bars:
            self._bars.progress.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            with suppress(OSError, ValueError):  # a closed pipe or a full disk must not end a run
                print(f"[{duration_text(self.clock() - self.started):>11}] {text}", file=self.stream, flush=True)

    def _progressed(self, name: str, step: int, steps: int, metrics: Mapping[str, float], now: float) -> None:
        if self._bars:
            self._bars.move(name, step, steps, _metrics_text(metrics))
            if now - self._last_estimate >= ESTIMATE_EVERY:
                share, text = self.time_left.share, self._estimate(now)
                self._bars.progress.update(self._bars.whole, completed=share, text=text)
        elif now - self._last_line >= LINE_EVERY:
            self.say(f"{self._estimate(now)}: {name} step {step}/{steps}  {_metrics_text(metrics)}".rstrip())

    def _estimate(self, now: float) -> str:
        """`40%, about 5 min left`. Of hundreds of jobs it takes too long to be made at every step."""
        self._last_estimate = now
        seconds = self.time_left.seconds(now)
        left = "" if seconds is None else f", about {duration_text(seconds)} left"
        return f"{self.time_left.share:.0%}{left}"

    def _ended(self, name: str, text: str) -> None:
        if self._bars:
            self._bars.remove(name)
        self.say(text)


@contextmanager
def single_job(path: Path, silent: bool = False) -> Iterator[tuple[Callable[..., None], Callable[[str], None]]]:
    """Report a job that runs in this process: yields callbacks for (step, steps, metrics) and for notices."""
    if silent:
        yield lambda step, steps, metrics: None, lambda text: None
        return
    name, began = path.name, False

    def progress(step: int, steps: int, metrics: Mapping[str, float] = MappingProxyType({})) -> None:
        nonlocal began
        if not began:  # only now is it known that its config and its data are sound
            reporter(Started(name))
            began = True
        reporter(Progressed(name, step, steps, metrics))

    with Reporter([Job(name, {}, path)], workers=1) as reporter:
        yield progress, lambda text: reporter(Noticed(name, text))


class _Bars:
    """A bar for all jobs together, and one for each running job."""

    def __init__(self, stream: TextIO) -> None:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[text]}", markup=False),
        )
        self.progress = Progress(*columns, console=Console(file=stream), transient=True)
        self.whole = self.progress.add_task("all", total=1.0, text="")
        self.tasks: dict[str, TaskID] = {}

    def add(self, name: str) -> None:
        self.remove(name)  # one that failed and is tried again
        self.tasks[name] = self.progress.add_task(name, total=None, text="starting")

    def move(self, name: str, step: int, steps: int, text: str) -> None:
        if name in self.tasks:
            self.progress.update(self.tasks[name], completed=step, total=steps, text=f"{step}/{steps}  {text}")

    def remove(self, name: str) -> None:
        if name in self.tasks:
            self.progress.remove_task(self.tasks.pop(name))


def _metrics_text(metrics: Mapping[str, float]) -> str:
    shown = [name for name in SHOWN if name in metrics][:2]
    return "  ".join(f"{name} {metrics[name]:.3g}" for name in shown)
