"""What runs on the machines of a Ray cluster: a task with one job, and the mailbox that its events go to.

Plain code: it imports Ray only inside a task, where it has been imported already.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from overopt import __version__
from overopt.errors import BusyError, UserError
from overopt.records import RunLock
from overopt.scheduler.jobs import Event, Failed, Job, Started
from overopt.scheduler.worker import run_job

PROGRESS_EVERY = 1.0
"""Least seconds between two progress events of a job."""

SEE_SECONDS = 10.0
"""Time for a file that another machine has just written to be seen here."""

LOCK_SECONDS = 90.0
"""Time for the process of an earlier try to end; a file server keeps the lock of a lost machine for about as long."""


@dataclass(frozen=True)
class Ticket:
    """A job for a task; `number` distinguishes the tries."""

    number: int
    job: Job
    train: str
    version: str
    """Of overopt, where the command was given."""
    marker: Path
    """A file beside the run directory, whose content is `token`."""
    token: str


class Mailbox:
    """An actor that keeps events until they have been seen: Ray may repeat a call, because a network failed."""

    def __init__(self) -> None:
        self.events: list[tuple[int, Event]] = []
        self.forgotten = 0
        self.arrived = asyncio.Event()

    async def put(self, number: int, event: Event) -> None:
        self.events.append((number, event))
        self.arrived.set()

    async def take(self, seen: int) -> list[tuple[int, Event]]:
        """All events after the first `seen`, with the numbers of their tickets; waits for one."""
        del self.events[: seen - self.forgotten]
        self.forgotten = seen
        if not self.events:
            self.arrived.clear()
            await self.arrived.wait()
        return list(self.events)


def run_ticket(ticket: Ticket, mailbox: Any) -> None:
    """Run a job; its last event is in the mailbox when this returns."""
    import ray

    receipts: list[Any] = []

    def send(event: Event) -> None:
        receipts[:] = [mailbox.put.remote(ticket.number, event)]

    run(ticket, send)
    ray.get(receipts)


def run(ticket: Ticket, send: Callable[[Event], None]) -> None:
    """Run a job, if this machine can, and send its events."""
    job = ticket.job
    send(Started(job.name))
    problem = _problem(ticket)
    if problem is None:
        wait_for_lock(job.out)
    send(Failed(job.name, problem) if problem else run_job(job, ticket.train, send, PROGRESS_EVERY))


def wait_for_lock(out: Path, seconds: float = LOCK_SECONDS) -> None:
    """Wait until no process is at work in a run directory: one may be ending there, of a try that counts as lost."""
    end = time.monotonic() + seconds
    while out.is_dir() and time.monotonic() < end:
        try:
            with RunLock(out) as lock:
                lock.acquire()
                return
        except BusyError:
            time.sleep(0.2)
        except UserError:  # the run itself will say so
            return


def _problem(ticket: Ticket) -> str | None:
    """Why this machine cannot run the job, for the user."""
    here = socket.gethostname()
    if ticket.version != __version__:
        return f"{here} has overopt {__version__}, but the command was given with {ticket.version}: install the same"
    end = time.monotonic() + SEE_SECONDS
    while not _sees(ticket):
        if time.monotonic() > end:
            folder = ticket.marker.parent
            return f"{here} does not see {folder}: --out must name a folder that all machines share"
        time.sleep(0.2)
    return None


def _sees(ticket: Ticket) -> bool:
    with suppress(OSError):
        return ticket.marker.read_text() == ticket.token
    return False
