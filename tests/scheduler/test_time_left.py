"""The estimate of the time left, worked by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from overopt.scheduler.jobs import Failed, Finished, Job, Progressed, Skipped, Started
from overopt.scheduler.time_left import TimeLeft, duration_text


def job(name: str, cost: float, *parents: str) -> Job:
    return Job(name, {}, Path(name), parents, cost)


JOBS = [job("sft", 10, ), job("a", 20, "sft"), job("b", 20, "sft"), job("c", 20, "sft")]  # fmt: skip


def test_before_anything_ran_it_is_the_length_of_the_schedule() -> None:
    assert TimeLeft(JOBS, workers=1).seconds(0.0) == pytest.approx(70)
    assert TimeLeft(JOBS, workers=2).seconds(0.0) == pytest.approx(50)  # 10, then a beside b, then c
    assert TimeLeft(JOBS, workers=8).seconds(0.0) == pytest.approx(30)


def test_it_follows_the_pace() -> None:
    left = TimeLeft(JOBS, workers=2, prior_seconds=0.0)
    assert left.seconds(0.0) is None
    left.note(Started("sft"), 0.0)
    left.note(Progressed("sft", 5, 10), 10.0)  # half of cost 10 in 10 s: 2 s a unit
    assert left.seconds(10.0) == pytest.approx(2 * (5 + 20 + 20))
    assert left.share == pytest.approx(5 / 70)
    left.note(Finished("sft", 20.0), 20.0)
    left.note(Started("a"), 20.0)
    left.note(Started("b"), 20.0)
    assert left.seconds(20.0) == pytest.approx(2 * 40)


def test_a_run_that_was_left_alone_says_nothing_about_the_pace() -> None:
    left = TimeLeft(JOBS, workers=1)
    left.note(Started("sft"), 0.0)
    left.note(Finished("sft", 0.1), 0.1)
    assert left.seconds(0.1) == pytest.approx(60)


def test_failed_and_skipped_jobs_take_no_time() -> None:
    left = TimeLeft(JOBS, workers=1)
    left.note(Started("sft"), 0.0)
    left.note(Failed("sft", "no"), 0.0)
    left.note(Skipped("a", "sft"), 0.0)
    assert left.share == pytest.approx(30 / 70)
    assert left.seconds(0.0) == pytest.approx(40)


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")]
)
def test_duration_text(seconds: float, words: str) -> None:
    assert duration_text(seconds) == words
