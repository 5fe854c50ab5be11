"""The one scheduler: jobs with parents over persistent local worker processes.

A job starts once its parents have finished. A job that fails takes down its descendants only, and they are named;
one that fails through no fault of the user's is first tried again, `retries` times.
Whether a finished run is left alone is the training code's decision, as it alone can compare configs. The results of
a job do not depend on how many workers there are: each runs one job at a time, always with the same thread count.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from graphlib import TopologicalSorter
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

from overopt.scheduler.jobs import Event, Failed, Finished, Job, Noticed, Result, Skipped, Started
from overopt.scheduler.worker import work

TRAIN = "overopt.training.train:train"
STOP_SECONDS = 10.0
"""Time for a worker to end the step it is at, and to keep it."""

MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(128 << 20)}
"""Keeps glibc from giving blocks back to the system and faulting them in again at every training step: without it a
tenth of a miniature run's CPU time is the system's."""


def run_jobs(
    jobs: Sequence[Job],
    *,
    workers: int | None = None,
    threads: int = 1,
    on_event: Callable[[Event], None] = lambda event: None,
    train: str = TRAIN,
    retries: int = 0,
    obstacle: Callable[[str], str | None] | None = None,
) -> dict[str, Result]:
    """Run every job that can be run, earlier ones of the list first, and say what became of each.

    `obstacle` is asked when a job's turn comes: what it names, a gate perhaps, is why the job is skipped after all.

    On an exception in the caller's process, Ctrl-C included, the workers are stopped after the steps they are at, and
    it propagates; a second Ctrl-C does not wait for them.
    """
    graph = _graph(jobs)
    graph.prepare()
    scheduler = _Scheduler(jobs, workers or available_cores(), threads, on_event, train)
    scheduler.tries_left = dict.fromkeys(scheduler.jobs, retries)
    scheduler.obstacle = obstacle or scheduler.obstacle
    return scheduler.run(graph)


def available_cores() -> int:
    """Cores this process may use: fewer than the machine has, in a container or under taskset."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Worker:
    """A process, the pipe to it, and the job it is at."""

    def __init__(self, train: str, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, far_end = context.Pipe()
        self.process: SpawnProcess = context.Process(target=work, args=(far_end, train, threads), daemon=True)
        self.job: Job | None = None
        with _interrupts_blocked(), _environment(MALLOC if sys.platform == "linux" else {}):
            self.process.start()
        far_end.close()  # the only copy is now the worker's, so that its death ends the pipe

    def give(self, job: Job) -> None:
        self.job = job
        self.pipe.send(job)

    def release(self) -> None:
        try:
            self.pipe.send(None)
        except OSError:
            pass  # it is dead already
        self.process.join(STOP_SECONDS)

    def ask_to_stop(self) -> None:
        """A run keeps the step it is at, so that the same command goes on from there."""
        if self.process.is_alive():
            self.process.terminate()

    def stop(self) -> None:
        self.process.join(STOP_SECONDS)
        if self.process.is_alive():
            self.process.kill()
        self.pipe.close()


class _Scheduler:
    def __init__(
        self, jobs: Sequence[Job], workers: int, threads: int, on_event: Callable[[Event], None], train: str
    ) -> None:
        self.jobs = {job.name: job for job in jobs}
        self.order = {job.name: place for place, job in enumerate(jobs)}
        self.results: dict[str, Result] = {}
        self.ready: list[str] = []
        self.on_event = on_event
        self.train, self.threads = train, threads
        self.size = max(1, min(workers, len(jobs)))
        self.workers: list[_Worker] = []
        self.tries_left = dict.fromkeys(self.jobs, 0)
        self.obstacle: Callable[[str], str | None] = lambda name: None

    def run(self, graph: TopologicalSorter[str]) -> dict[str, Result]:
        try:
            while len(self.results) < len(self.jobs):
                self.ready = sorted([*self.ready, *graph.get_ready()], key=self.order.__getitem__)
                self._fill()
                if not any(worker.job for worker in self.workers):
                    continue  # all that was ready met an obstacle
                for worker in self._heard_from():
                    self._listen(worker, graph)
            for worker in self.workers:
                worker.release()
        finally:
            for worker in self.workers:
                worker.ask_to_stop()
            for worker in self.workers:
                worker.stop()
        return {name: self.results[name] for name in self.jobs}

    def _fill(self) -> None:
        """Give ready jobs to idle workers. All workers are started at once: the later ones import meanwhile."""
        while len(self.workers) < self.size:
            self.workers.append(_Worker(self.train, self.threads))
        for worker in self.workers:
            if worker.job is None and (name := self._next()) is not None:
                try:
                    worker.give(self.jobs[name])
                except OSError:
                    pass  # it died; its pipe tells us next, and the job counts as failed
                self.on_event(Started(name))

    def _next(self) -> str | None:
        """The first job that is ready and in whose way there is nothing."""
        while self.ready:
            name = self.ready.pop(0)
            because = self.obstacle(name)
            if because is None:
                return name
            self._skip(name, because)
            self._skip_descendants(name, because)
        return None

    def _heard_from(self) -> list[_Worker]:
        pipes: dict[object, _Worker] = {worker.pipe: worker for worker in self.workers}
        return [pipes[pipe] for pipe in wait([worker.pipe for worker in self.workers])]

    def _listen(self, worker: _Worker, graph: TopologicalSorter[str]) -> None:
        event = _receive(worker.pipe)
        if event is None:
            event = self._bury(worker)
        if event is None:
            return
        if isinstance(event, Finished | Failed):
            worker.job = None
        if isinstance(event, Failed) and event.traceback is not None and self.tries_left[event.job]:
            self.tries_left[event.job] -= 1
            self.ready.append(event.job)
            event = Noticed(event.job, f"failed, and is tried again: {event.message}")
        self.on_event(event)
        if isinstance(event, Finished):
            self.results[event.job] = Result("finished")
            graph.done(event.job)
        elif isinstance(event, Failed):
            self.results[event.job] = Result("failed", event.message, event.traceback)
            self._skip_descendants(event.job)

    def _bury(self, worker: _Worker) -> Failed | None:
        """A worker's process ended by itself. The job it was at failed, and another worker takes its place."""
        worker.process.join()
        self.workers.remove(worker)
        worker.stop()
        code = worker.process.exitcode or 0
        how = f"killed by signal {-code} (out of memory?)" if code < 0 else f"exit status {code}"
        if worker.job is not None:
            return Failed(worker.job.name, f"its worker process ended: {how}", traceback="")
        self.size -= 1  # an idle one that dies would die again
        if not self.size:
            raise RuntimeError(f"the worker processes do not start ({how}); their own message is above")
        return None

    def _skip_descendants(self, failed: str, because: str | None = None) -> None:
        lost = {failed}
        for name in _graph(list(self.jobs.values())).static_order():
            if name not in self.results and lost & set(self.jobs[name].parents):
                lost.add(name)
                self._skip(name, because or failed)

    def _skip(self, name: str, because: str) -> None:
        self.results[name] = Result("skipped", f"not run, because {because} failed")
        self.on_event(Skipped(name, because))


def _graph(jobs: Sequence[Job]) -> TopologicalSorter[str]:
    names = {job.name for job in jobs}
    if len(names) < len(jobs):
        raise ValueError("two jobs have the same name")
    for job in jobs:
        if unknown := set(job.parents) - names:
            raise ValueError(f"job {job.name}: no such parent: {', '.join(sorted(unknown))}")
    return TopologicalSorter({job.name: job.parents for job in jobs})


def _receive(pipe: Connection) -> Event | None:
    try:
        event: Event = pipe.recv()
    except (EOFError, OSError):
        return None
    return event


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """A process started in here never sees Ctrl-C, not even while it starts: it is ours to stop."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # else the first start of a process starts it, and that unblocks the signal again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _environment(extra: Mapping[str, str]) -> Iterator[None]:
    """Variables for a process started in here; what the user set wins."""
    added = {name: value for name, value in extra.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]
