"""Worker processes of this machine, with fake training functions."""

from __future__ import annotations

from pathlib import Path

from overopt.scheduler.jobs import Event, Failed, Finished, Job
from overopt.scheduler.local import LocalWorkers, available_cores


def next_end(workers: LocalWorkers) -> Event:
    """The event with which the next job ends."""
    while True:
        for event in workers.wait():
            if isinstance(event, Finished | Failed):
                return event


def test_a_process_takes_job_after_job_and_is_replaced_when_it_dies(tmp_path: Path) -> None:
    workers = LocalWorkers(1, 1, "fake_stages:train")
    try:
        pids = []
        for name, do in (("a", None), ("b", None), ("c", "die"), ("d", None)):
            assert workers.has_room
            workers.start(Job(name, {"do": do}, tmp_path / name))
            assert (workers.has_room, workers.is_busy) == (False, True)
            pids.append(workers.workers[0].process.pid)
            ended = next_end(workers)
            assert ended.job == name
            if do:
                assert ended == Failed("c", "its worker process ended: exit status 9", traceback="")
        assert pids[0] == pids[1] == pids[2] != pids[3]
        assert not workers.is_busy
        workers.close()
        assert workers.workers[0].process.exitcode == 0
    finally:
        workers.stop()


def test_there_is_a_core() -> None:
    assert available_cores() >= 1
