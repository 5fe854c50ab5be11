"""What people see of jobs: lines in a pipe, bars on a terminal."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from overopt.scheduler.jobs import Failed, Finished, Job, Noticed, Progressed, Skipped, Started
from overopt.scheduler.terminal import Reporter, single_job

JOBS = [Job("sft", {}, Path("sft"), (), 20), Job("kl", {}, Path("kl"), ("sft",), 20)]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_in_a_pipe_a_line_per_event_and_progress_every_ten_seconds() -> None:
    stream, clock = io.StringIO(), Clock()
    with Reporter(JOBS, 1, stream, clock) as reporter:
        reporter(Started("sft"))
        for second in range(1, 21):
            clock.now = float(second)
            reporter(Progressed("sft", second, 20, {"loss": 1.25, "grad_norm": 3.0}))
        reporter(Finished("sft", 20.0))
    assert stream.getvalue().splitlines() == [
        "[        0 s] started sft",
        "[       10 s] 25%, about 30 s left: sft step 10/20  loss 1.25",
        "[       20 s] 50%, about 20 s left: sft step 20/20  loss 1.25",
        "[       20 s] finished sft in 20 s",
    ]


def test_a_single_job_says_no_time_left_before_it_is_known() -> None:
    stream, clock = io.StringIO(), Clock()
    reporter = Reporter(JOBS[:1], 1, stream, clock)
    reporter(Started("sft"))
    clock.now = 30.0
    reporter(Progressed("sft", 30, 90))
    assert stream.getvalue().splitlines()[-1] == "[       30 s] 33%, about 1 min 00 s left: sft step 30/90"


def test_long_messages_are_not_wrapped_and_failures_are_told_in_full() -> None:
    for stream in (io.StringIO(), Terminal()):
        with Reporter(JOBS, 1, stream, Clock()) as reporter:
            reporter(Started("sft"))
            reporter(Noticed("sft", "word " * 60 + "[end]"))
            reporter(Failed("sft", "lr: expected a number", "Traceback: here"))
            reporter(Skipped("kl", "sft"))
        shown = stream.getvalue()
        assert "word " * 60 + "[end]" in shown
        assert "FAILED sft: lr: expected a number\n" in shown
        assert "Traceback: here" in shown
        assert "skipped kl, because sft failed" in shown


def test_on_a_terminal_there_are_bars_with_steps_and_the_time_left() -> None:
    stream = Terminal()
    with Reporter(JOBS, 1, stream, Clock()) as reporter:
        reporter(Started("sft"))
        reporter(Progressed("sft", 10, 20, {"win_rate": 0.5}))
        assert reporter._bars is not None
        reporter._bars.progress.refresh()
        reporter(Started("sft"))  # tried again
        assert [task.description for task in reporter._bars.progress.tasks] == ["all", "sft"]
    assert "10/20  win_rate 0.5" in stream.getvalue()
    assert "25%, about" in stream.getvalue()


def test_a_single_job_has_started_once_it_moves(capsys: pytest.CaptureFixture[str]) -> None:
    with single_job(Path("runs/sft")) as (progress, notice):
        notice("started again")
        assert "started sft" not in capsys.readouterr().err
        progress(1, 10, {"loss": 0.5})
        progress(2, 10)
    assert capsys.readouterr().err == "[        0 s] started sft\n"
