"""One job in this process, with a pipe that nobody reads."""

from __future__ import annotations

from multiprocessing import Pipe
from pathlib import Path

import pytest
import torch

from overopt.scheduler.jobs import Event, Failed, Finished, Job, Noticed, Progressed
from overopt.scheduler.worker import run_job, work

TRAIN = "fake_stages:train"


@pytest.fixture(autouse=True)
def _threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("MKL_NUM_THREADS", "1")


def test_a_job_sends_its_last_progress_and_returns_how_it_ended(tmp_path: Path) -> None:
    sent: list[Event] = []
    ended = run_job(Job("a", {}, tmp_path / "a"), TRAIN, sent.append)
    assert isinstance(ended, Finished)
    assert sent == [Progressed("a", 1, 1, {"loss": 0.5})]


def test_a_refused_job_has_a_message_and_no_traceback(tmp_path: Path) -> None:
    ended = run_job(Job("a", {"do": "refuse"}, tmp_path / "a"), TRAIN, lambda event: None)
    assert ended == Failed("a", "lr: expected a number", None)


def test_the_loop_serves_jobs_until_it_is_told_to_stop(tmp_path: Path) -> None:
    here, there = Pipe()
    for name in ("a", "b", "a"):
        here.send(Job(name, {}, tmp_path / name))
    here.send(None)
    work(there, TRAIN, threads=1)
    events = [here.recv() for _ in range(6)]
    assert [type(event) for event in events] == [Progressed, Finished, Progressed, Finished, Noticed, Finished]
    assert [event.job for event in events] == ["a", "a", "b", "b", "a", "a"]


@pytest.mark.parametrize("do", [None, "refuse", "crash"])
def test_a_job_s_threads_are_not_those_of_the_next(
    do: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, given, set_num_threads = torch.get_num_threads(), [], torch.set_num_threads
    monkeypatch.setattr(torch, "set_num_threads", lambda n: (given.append(n), set_num_threads(n)))
    run_job(Job("a", {"do": do, "threads": before + 1}, tmp_path / "a"), TRAIN, lambda event: None)
    assert given == [before + 1, before] and torch.get_num_threads() == before
    run_job(Job("b", {"do": do}, tmp_path / "b"), TRAIN, lambda event: None)
    assert given == [before + 1, before], "a count that nobody changed is left alone"
