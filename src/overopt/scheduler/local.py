"""Worker processes of this machine, which stay alive from job to job: the executor of every study without a cluster."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

from overopt.scheduler.jobs import Event, Failed, Finished, Job, Started
from overopt.scheduler.worker import work

STOP_SECONDS = 10.0
"""Time for a worker to end the step it is at and to keep it."""

MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(128 << 20)}
"""Keeps glibc from returning blocks to the system and faulting them in again at every training step, which costs a
tenth of a miniature run's CPU time."""


def available_cores() -> int:
    """Cores that this process may use: fewer than the machine has, in a container or under taskset."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class LocalWorkers:
    """Runs each job in one of `count` processes. All are started at once: the later ones import meanwhile."""

    def __init__(self, count: int, threads: int, train: str) -> None:
        self.count, self.threads, self.train = count, threads, train
        self.workers: list[_Worker] = []
        self.started: list[Event] = []

    @property
    def has_room(self) -> bool:
        """Whether it can start a job now."""
        while len(self.workers) < self.count:
            self.workers.append(_Worker(self.train, self.threads))
        return any(worker.job is None for worker in self.workers)

    @property
    def is_busy(self) -> bool:
        return any(worker.job for worker in self.workers)

    def start(self, job: Job) -> None:
        next(worker for worker in self.workers if worker.job is None).start(job)
        self.started.append(Started(job.name))

    def wait(self) -> list[Event]:
        """Wait for events; the last of each job is Finished or Failed. A process that died is replaced."""
        if self.started:
            events, self.started = self.started, []
            return events
        pipes: dict[object, _Worker] = {worker.pipe: worker for worker in self.workers}
        received = [self._receive(pipes[pipe]) for pipe in wait([worker.pipe for worker in self.workers])]
        return [event for event in received if event is not None]

    def close(self) -> None:
        """Let idle processes end by themselves."""
        for worker in self.workers:
            worker.release()

    def stop(self) -> None:
        """End all processes; a run keeps the step it is at, so that the same command goes on from there."""
        for worker in self.workers:
            worker.process.terminate()
        for worker in self.workers:
            worker.join_or_kill()

    def _receive(self, worker: _Worker) -> Event | None:
        try:
            event: Event | None = worker.pipe.recv()
        except (EOFError, OSError):
            return self._bury(worker)
        if isinstance(event, Finished | Failed):
            worker.job = None
        return event

    def _bury(self, worker: _Worker) -> Failed | None:
        """Remove a process that ended by itself; the failure of the job it was at, if any."""
        worker.process.join()
        self.workers.remove(worker)
        worker.join_or_kill()
        code = worker.process.exitcode or 0
        how = f"killed by signal {-code} (out of memory?)" if code < 0 else f"exit status {code}"
        if worker.job is not None:
            return Failed(worker.job.name, f"its worker process ended: {how}", traceback="")
        self.count -= 1  # an idle one that dies would die again
        if not self.count:
            raise RuntimeError(f"the worker processes do not start ({how}); their own message is above")
        return None


class _Worker:
    """A process, the pipe to it, and the job it is at."""

    def __init__(self, train: str, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe: Connection
        self.pipe, far_end = context.Pipe()
        self.process: SpawnProcess = context.Process(target=work, args=(far_end, train, threads), daemon=True)
        self.job: Job | None = None
        with _interrupts_blocked(), _environment(MALLOC if sys.platform == "linux" else {}):
            self.process.start()
        far_end.close()  # the only copy is now the worker's, so that its death ends the pipe

    def start(self, job: Job) -> None:
        self.job = job
        with suppress(OSError):  # it died; its pipe says so next, and the job counts as failed
            self.pipe.send(job)

    def release(self) -> None:
        with suppress(OSError):  # it is dead already
            self.pipe.send(None)
        self.process.join(STOP_SECONDS)

    def join_or_kill(self) -> None:
        self.process.join(STOP_SECONDS)
        self.process.kill()  # does nothing to one that has ended
        self.pipe.close()


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """A process started in here never receives Ctrl-C, not even while it starts: the scheduler stops it."""
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
    """Sets variables for a process started in here, except those that the user has set."""
    added = {name: value for name, value in extra.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]
