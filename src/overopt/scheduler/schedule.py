"""Runs jobs whose parents have finished, until each has finished, failed or been skipped.

A job that fails takes down its descendants only, and they are named. One that crashes through no fault of the user's
is first tried again, `retries` times; one whose machine is lost, LOSSES times besides. Whether a finished run is left
alone is decided by the training code, which alone can compare configurations.

Where the jobs run is an executor's affair: processes of this machine (`local.py`), or a Ray cluster (`cluster.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Protocol

from overopt.scheduler.jobs import Event, Failed, Finished, Job, Lost, Noticed, Result, Skipped, result_of
from overopt.scheduler.local import LocalWorkers, available_cores

TRAIN = "overopt.training.train:train"

LOSSES = 5
"""How often a job is tried again because the machine or the process under it was lost."""


class Executor(Protocol):
    """Runs jobs somewhere else, several at a time, and reports events: of each job Started first, its ending last."""

    count: int
    """Jobs at a time, about; used for estimates only."""

    @property
    def has_room(self) -> bool:
        """Whether it takes another job now."""

    @property
    def is_busy(self) -> bool:
        """Whether a job is under way."""

    def start(self, job: Job) -> None:
        """Run a job as soon as it can be run."""

    def wait(self) -> list[Event]:
        """Wait for events; the last of each job is Finished, Failed or Lost."""

    def close(self) -> None:
        """All jobs have ended."""

    def stop(self) -> None:
        """End what still runs after the step it is at, and release everything."""


def executor_for(
    jobs: Sequence[Job], workers: int | None = None, threads: int = 1, train: str = TRAIN, cluster: str | None = None
) -> Executor:
    """Processes of this machine, by default one per core; or the Ray cluster at the address `cluster`.

    Nothing of Ray is imported without an address.
    """
    if cluster is None:
        return LocalWorkers(max(1, min(workers or available_cores(), len(jobs))), threads, train)
    from overopt.scheduler.cluster import RayCluster

    return RayCluster(cluster, jobs, workers, threads, train)


def run_jobs(
    jobs: Sequence[Job],
    *,
    workers: int | None = None,
    threads: int = 1,
    on_event: Callable[[Event], None] = lambda event: None,
    train: str = TRAIN,
    executor: Executor | None = None,
    retries: int = 0,
    obstacle: Callable[[str], str | None] = lambda job: None,
) -> dict[str, Result]:
    """Run every job that can run, in the order of the list, and return what became of each.

    `executor` is what `executor_for` makes of `workers`, `threads` and `train`, unless it is given.

    When a job's turn comes, `obstacle` may name a reason to skip it and its descendants, such as a closed gate. The
    results of a job do not depend on the number of workers: each runs one job at a time, always with `threads` threads.

    On an exception in the caller's process, Ctrl-C included, the workers stop after the steps they are at, and the
    exception propagates; a second Ctrl-C does not wait for them.
    """
    executor = executor or executor_for(jobs, workers, threads, train)
    return _Schedule(jobs, executor, on_event, retries, obstacle).run()


@dataclass
class _Schedule:
    listed: Sequence[Job]
    executor: Executor
    on_event: Callable[[Event], None]
    retries: int
    obstacle: Callable[[str], str | None]

    def __post_init__(self) -> None:
        self.jobs = {job.name: job for job in self.listed}
        self.graph = _graph(self.listed)
        self.graph.prepare()
        self.order = {name: place for place, name in enumerate(self.jobs)}
        self.ready: list[str] = []
        self.tries_left = dict.fromkeys(self.jobs, self.retries)
        self.losses_left = dict.fromkeys(self.jobs, LOSSES)
        self.results: dict[str, Result] = {}

    def run(self) -> dict[str, Result]:
        try:
            while len(self.results) < len(self.jobs):
                self.ready = sorted([*self.ready, *self.graph.get_ready()], key=self.order.__getitem__)
                while self.executor.has_room and (name := self._next()) is not None:
                    self.executor.start(self.jobs[name])
                if self.executor.is_busy:  # otherwise an obstacle stood before every job that was ready
                    for event in self.executor.wait():
                        self._handle(event)
            self.executor.close()
        finally:
            self.executor.stop()
        return {name: self.results[name] for name in self.jobs}

    def _next(self) -> str | None:
        """The first ready job without an obstacle; the others are skipped."""
        while self.ready:
            name = self.ready.pop(0)
            because = self.obstacle(name)
            if because is None:
                return name
            self._end(Skipped(name, because))
            self._skip_descendants(name, because)
        return None

    def _handle(self, event: Event) -> None:
        if isinstance(event, Lost):
            event = self._lost(event)
        elif isinstance(event, Failed) and event.traceback is not None and self.tries_left[event.job]:
            self.tries_left[event.job] -= 1
            self.ready.append(event.job)
            event = Noticed(event.job, f"failed, and is tried again: {event.message}")
        self._end(event)
        if isinstance(event, Finished):
            self.graph.done(event.job)
        elif isinstance(event, Failed):
            self._skip_descendants(event.job, event.job)

    def _lost(self, event: Lost) -> Noticed | Failed:
        """Put the job back among those that are ready, unless it was lost too often to be innocent."""
        if not self.losses_left[event.job]:
            return Failed(event.job, f"{event.message}; lost {LOSSES + 1} times", traceback="")
        self.losses_left[event.job] -= 1
        self.ready.append(event.job)
        return Noticed(event.job, f"lost, and is tried again: {event.message}")

    def _skip_descendants(self, lost: str, because: str) -> None:
        gone = {lost}
        for name in _graph(self.listed).static_order():
            if name not in self.results and gone & set(self.jobs[name].parents):
                gone.add(name)
                self._end(Skipped(name, because))

    def _end(self, event: Event) -> None:
        """Report an event, and keep the job's result if the event ends it."""
        if (result := result_of(event)) is not None:
            self.results[event.job] = result
        self.on_event(event)


def _graph(jobs: Sequence[Job]) -> TopologicalSorter[str]:
    names = {job.name for job in jobs}
    if len(names) < len(jobs):
        raise ValueError("two jobs have the same name")
    for job in jobs:
        if unknown := set(job.parents) - names:
            raise ValueError(f"job {job.name}: no such parent: {', '.join(sorted(unknown))}")
    return TopologicalSorter({job.name: job.parents for job in jobs})
