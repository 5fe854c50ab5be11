"""What a task does, without Ray: the mailbox, and the reasons why a machine cannot run a job."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from overopt import __version__
from overopt.records import RunLock
from overopt.scheduler import cluster_task
from overopt.scheduler.cluster_task import Mailbox, Ticket, run, wait_for_lock
from overopt.scheduler.jobs import Event, Failed, Finished, Job, Progressed, Started


@pytest.fixture
def ticket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ticket:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    marker = tmp_path / ".cluster"
    marker.write_text("a1b2")
    return Ticket(0, Job("a", {}, tmp_path / "a"), "fake_stages:train", __version__, marker, "a1b2")


def events_of(ticket: Ticket) -> list[Event]:
    events: list[Event] = []
    run(ticket, events.append)
    return events


def test_a_job_reports_from_its_start_to_its_end(ticket: Ticket) -> None:
    started, progressed, finished = events_of(ticket)
    assert (started, progressed) == (Started("a"), Progressed("a", 1, 1, {"loss": 0.5}))
    assert isinstance(finished, Finished) and ticket.job.out.is_file()


def test_a_machine_with_another_version_runs_nothing(ticket: Ticket) -> None:
    problem = f"{socket.gethostname()} has overopt {__version__}, but the command was given with 0.0: install the same"
    assert events_of(replace(ticket, version="0.0")) == [Started("a"), Failed("a", problem)]
    assert not ticket.job.out.exists()


@pytest.mark.parametrize("content", [None, "of another command"])
def test_a_machine_that_does_not_see_the_folder_runs_nothing(
    content: str | None, ticket: Ticket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_task, "SEE_SECONDS", 0.1)
    ticket.marker.unlink() if content is None else ticket.marker.write_text(content)
    (_, failed) = events_of(ticket)
    assert isinstance(failed, Failed) and failed.traceback is None, "the user's to mend"
    assert failed.message.endswith(f"does not see {tmp_path}: --out must name a folder that all machines share")
    assert not ticket.job.out.exists()


def test_a_file_that_comes_late_is_seen(ticket: Ticket) -> None:
    ticket.marker.unlink()
    threading.Timer(0.3, ticket.marker.write_text, ("a1b2",)).start()
    assert isinstance(events_of(ticket)[-1], Finished)


def test_a_try_waits_for_the_one_before_it_to_end(tmp_path: Path) -> None:
    with RunLock(tmp_path) as lock:
        lock.acquire()
        began = time.monotonic()
        wait_for_lock(tmp_path, seconds=0.3)
        assert time.monotonic() - began >= 0.3, "held throughout"
        threading.Timer(0.3, lock.release).start()
        wait_for_lock(tmp_path, seconds=20.0)
        assert 0.6 <= time.monotonic() - began < 10
    began = time.monotonic()
    wait_for_lock(tmp_path / "none")
    wait_for_lock(tmp_path)
    assert time.monotonic() - began < 0.3
    assert not list(tmp_path.iterdir())


def test_events_are_taken_in_order_and_kept_until_they_have_been_seen() -> None:
    async def use() -> list[list[tuple[int, Event]]]:
        mailbox = Mailbox()
        waiting = asyncio.ensure_future(mailbox.take(0))
        await asyncio.sleep(0)
        assert not waiting.done()
        for event in (Started("a"), Finished("a", 1.0)):
            await mailbox.put(3, event)
        first, again = await waiting, await mailbox.take(0)  # whose answer was lost
        await mailbox.put(4, Started("b"))
        rest = await mailbox.take(2)
        waiting = asyncio.ensure_future(mailbox.take(3))
        await asyncio.sleep(0)
        assert not waiting.done()
        await mailbox.put(4, Finished("b", 1.0))
        return [first, again, rest, await waiting]

    a, b = [(3, Started("a")), (3, Finished("a", 1.0))], [(4, Started("b"))]
    assert asyncio.run(use()) == [a, a, b, [(4, Finished("b", 1.0))]]
