"""A Ray cluster as executor: each job is a Ray task, wherever its resources are free. Imports Ray; `--ray` alone does.

A task reports through a mailbox, an actor beside this process. Ray repeats nothing by itself: what is lost with a
machine is reported to the scheduler, which tries it again. Every machine must see the folder of the runs.
"""

from __future__ import annotations

import itertools
import os
import re
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from overopt import __version__
from overopt.errors import UserError
from overopt.records.atomic import make_folder, writing
from overopt.scheduler.cluster_task import Mailbox, Ticket, run_ticket
from overopt.scheduler.jobs import Event, Failed, Finished, Job, Lost, Noticed
from overopt.scheduler.local import MALLOC

STOP_SECONDS = 30.0
"""Time for a task to end the step it is at and to keep it."""

CONNECT_SECONDS = 10.0
"""Time for an address to answer."""

POLL_SECONDS = 1.0
"""How long a wait for Ray lasts at most, so that Ctrl-C is heard."""

MARKER = ".cluster"
"""The file in the folder of the runs by which a task knows that it sees the same folder."""


NO_GPU = {"CUDA_VISIBLE_DEVICES": ""}
"""Ray shows all GPUs of a machine to a task that has reserved none."""


@dataclass
class _Task:
    job: Job
    ref: Any
    """What Ray promises to return; None once it has returned."""


class RayCluster:
    """Runs jobs as tasks of the cluster at `address`, at most `limit` at a time; Ray queues what finds no room yet."""

    def __init__(self, address: str, jobs: Sequence[Job], limit: int | None, threads: int, train: str) -> None:
        self.ray, self.address, self.train = _library(), address, train
        with _explained(address), _own_signals():
            _connect(self.ray, address)
            # on the node of this process: lost together or not at all
            here = self.ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
                self.ray.get_runtime_context().get_node_id(), soft=True
            )
            mailbox = self.ray.remote(Mailbox).options(num_cpus=0, scheduling_strategy=here, max_task_retries=-1)
            self.mailbox = mailbox.remote()
            self.seen = 0
            self.post = self.mailbox.take.remote(self.seen)
        self.limit = limit or len(jobs)
        self.count = max(1, min(self.limit, len(jobs), self._room_for(jobs)))
        self.environment = {**MALLOC, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        self.numbers = itertools.count()
        self.tasks: dict[int, _Task] = {}
        self.notices: list[Event] = []
        self.markers: set[Path] = set()
        self.token = secrets.token_hex(8)

    @property
    def has_room(self) -> bool:
        return len(self.tasks) < self.limit

    @property
    def is_busy(self) -> bool:
        return bool(self.tasks)

    def start(self, job: Job) -> None:
        marker = self._mark(job.out.parent)
        number = next(self.numbers)
        ticket = Ticket(number, job, self.train, __version__, marker, self.token)
        needs = dict(job.resources)
        environment = self.environment | ({} if needs.get("GPU") else NO_GPU)
        task = self.ray.remote(run_ticket).options(
            name=f"overopt {job.name}",
            num_cpus=needs.pop("CPU", 1.0),
            num_gpus=needs.pop("GPU", 0.0),
            memory=int(needs.pop("memory", 0)) or None,
            resources=needs,
            max_retries=0,
            runtime_env={"env_vars": environment},
        )
        with _explained(self.address):
            self.tasks[number] = _Task(job, task.remote(ticket, self.mailbox))
            if not any(_fit(job.resources, node) for node in self._nodes()):
                text = ", ".join(f"{name} {amount:g}" for name, amount in job.resources.items())
                self.notices.append(Noticed(job.name, f"waits for a machine that has {text}; the cluster has none now"))

    def wait(self) -> list[Event]:
        events, self.notices = self.notices, []
        while not events:
            with _explained(self.address), redirect_stdout(sys.stderr):  # where Ray tells of its workers
                returned = {task.ref: number for number, task in self.tasks.items() if task.ref is not None}
                for ref in self.ray.wait([self.post, *returned], timeout=POLL_SECONDS)[0]:
                    events += self._read() if ref == self.post else self._returned(returned[ref])
        return events

    def close(self) -> None:
        """Nothing is left to wait for."""

    def stop(self) -> None:
        left = [task.ref for task in self.tasks.values() if task.ref is not None]
        with suppress(Exception):  # of a cluster that is gone
            for ref in left:
                self.ray.cancel(ref)  # as Ctrl-C does: the run keeps the step it is at
            if left:
                self.ray.wait(left, num_returns=len(left), timeout=STOP_SECONDS)
            self.ray.shutdown()  # ends whatever still runs
        for marker in self.markers:
            with suppress(OSError):
                marker.unlink()

    def _read(self) -> list[Event]:
        """The events in the mailbox, except those of a task that is given up."""
        events = []
        taken = self.ray.get(self.post)
        self.seen += len(taken)
        self.post = self.mailbox.take.remote(self.seen)
        for number, event in taken:
            if number in self.tasks:
                events.append(event)
                if isinstance(event, Finished | Failed):
                    del self.tasks[number]
        return events

    def _returned(self, number: int) -> list[Event]:
        """A task has come back: its last event is in the mailbox, unless it died."""
        task = self.tasks[number]
        try:
            self.ray.get(task.ref)
        except Exception as error:  # whatever Ray may raise
            del self.tasks[number]
            return [_death(task.job.name, error, self.ray.exceptions)]
        task.ref = None
        return []

    def _mark(self, folder: Path) -> Path:
        marker = folder / MARKER
        if marker not in self.markers:
            make_folder(folder)
            with writing(marker):
                marker.write_text(self.token)
            self.markers.add(marker)
        return marker

    def _nodes(self) -> list[Mapping[str, float]]:
        return [node["Resources"] for node in self.ray.nodes() if node["Alive"]]

    def _room_for(self, jobs: Sequence[Job]) -> int:
        """How many jobs as large as the largest the cluster runs at a time."""
        names = {name for job in jobs for name in job.resources}
        most = {name: max(job.resources.get(name, 0.0) for job in jobs) for name in names}
        with _explained(self.address):
            return sum(
                min((int(node.get(name, 0.0) / need) for name, need in most.items() if need), default=len(jobs))
                for node in self._nodes()
            )


def _library() -> Any:
    """Ray, or a UserError that says how to install it."""
    try:
        import ray
        import ray.exceptions
        import ray.util.scheduling_strategies
    except ImportError as error:
        raise UserError(f"--ray: needs the package ray ({error}): pip install 'overopt[ray]'") from error
    return ray


def _connect(ray: Any, address: str) -> None:
    if place := re.fullmatch(r"\[?([^/]+?)\]?:(\d+)", address):  # Ray itself would try for many minutes
        socket.create_connection((place[1], int(place[2])), CONNECT_SECONDS).close()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # of a cluster that starts with this process
    # a task's own output stays in Ray's logs: it would run through the progress bars
    ray.init(address=address, log_to_driver=False, logging_level="ERROR")


@contextmanager
def _explained(address: str) -> Iterator[None]:
    """Whatever goes wrong between this process and the cluster is a UserError."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"--ray {address}: no connection to a Ray cluster ({type(error).__name__}: {first}); see that it is up "
            "(`ray status`, or `ray start --head` for a new one), and give the same command again"
        ) from error


@contextmanager
def _own_signals() -> Iterator[None]:
    """Ray sets a handler of its own for SIGTERM; afterwards the one before is in force again."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _fit(needs: Mapping[str, float], has: Mapping[str, float]) -> bool:
    return all(has.get(name, 0.0) >= need for name, need in needs.items())


def _death(job: str, error: Exception, kinds: Any) -> Lost | Failed:
    """What the scheduler makes of a task that ended without a word."""
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    if isinstance(error, kinds.OutOfMemoryError):
        return Failed(job, f"its machine ran out of memory: {first}", traceback="")
    if isinstance(error, kinds.RayTaskError):
        cause = getattr(error, "cause", None) or error
        return Failed(job, f"{type(cause).__name__}: {cause}", traceback=str(error))
    if isinstance(error, kinds.WorkerCrashedError):
        return Lost(job, "its worker process ended")
    if isinstance(error, kinds.NodeDiedError | kinds.ObjectLostError | kinds.LocalRayletDiedError):
        return Lost(job, "its machine left the cluster")
    return Failed(job, f"Ray could not run it: {type(error).__name__}: {first}", traceback="")
