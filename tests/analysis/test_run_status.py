"""What is seen of runs while they go: from hand-written records, at a time that the test sets."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from fake_runs import ONLINE, Evaluated, base_run, online_run, write_run

from overopt.analysis.run_status import QUIET_SECONDS, UNTIMED_SECONDS, StatusReader
from overopt.errors import UserError

TWO = (Evaluated(0, 4), Evaluated(10, 8, 0.5, -0.5, 1.0))
"""The fake run's steps take six seconds each."""


def test_a_run_that_goes_shows_its_step_pace_and_last_numbers(tmp_path: Path) -> None:
    online_run(tmp_path / "kl", TWO, status=None)
    (status,) = StatusReader([tmp_path]).read()
    assert (status.name, status.stage, status.status) == ("kl", "online", "running")
    assert (status.step, status.steps, status.left) == (10, 20, 60.0)
    assert status.numbers == {"win_rate": 0.8, "proxy": 0.5, "gold": -0.5, "kl_ref": 2.5}
    assert (status.curve, status.curve_of) == ((0.4, 0.8), "win rate")
    assert status.silent is not None and status.silent < 50


def test_a_run_is_stalled_after_ten_of_its_steps_without_a_word(tmp_path: Path) -> None:
    online_run(tmp_path / "kl", TWO, status=None)
    watch, now = StatusReader([tmp_path]), time.time()
    assert watch.read(now + QUIET_SECONDS - 5)[0].status == "running"
    (status,) = watch.read(now + QUIET_SECONDS + 5)
    assert status.status == "stalled"
    assert status.silent == pytest.approx(QUIET_SECONDS + 5, abs=4)
    os.utime(tmp_path / "kl/metrics.jsonl", (now + 60, now + 60))
    assert watch.read(now + QUIET_SECONDS + 5)[0].status == "running", "it wrote again"


def test_longer_steps_earn_more_patience_and_so_does_a_run_without_any(tmp_path: Path) -> None:
    path = online_run(tmp_path / "slow", TWO, status=None)
    lines = [f'{{"step": {step}, "elapsed": {100.0 * step}}}\n' for step in range(1, 11)]
    (path / "timings.jsonl").write_text("".join(lines))
    write_run(tmp_path / "young", ONLINE, [], [], status=None)
    watch, now = StatusReader([tmp_path]), time.time()
    assert [status.status for status in watch.read(now + UNTIMED_SECONDS - 5)] == ["running", "running"]
    assert [status.status for status in watch.read(now + 950)] == ["running", "stalled"]
    assert [status.status for status in watch.read(now + 1005)] == ["stalled", "stalled"]


def test_what_has_ended_is_never_stalled_and_says_why(tmp_path: Path) -> None:
    online_run(tmp_path / "a", status="diverged", diverged_at=12)
    online_run(tmp_path / "b", status="failed")
    online_run(tmp_path / "c", status="stopped", reason="the win rate fell")
    base_run(tmp_path / "d")
    statuses = StatusReader([tmp_path]).read(time.time() + 1e6)
    assert [status.status for status in statuses] == ["diverged", "failed", "stopped", "finished"]
    assert [status.reason for status in statuses] == ["at step 12", "", "the win rate fell", ""]
    assert (statuses[3].curve, statuses[3].curve_of) == ((1.0,), "loss")


def test_another_machines_clock_may_be_ahead(tmp_path: Path) -> None:
    online_run(tmp_path / "kl", TWO, status=None)
    assert StatusReader([tmp_path]).read(time.time() - 1000)[0].silent == 0.0


def test_only_what_changed_is_read_again(tmp_path: Path) -> None:
    path = online_run(tmp_path / "kl", TWO, status=None)
    watch = StatusReader([tmp_path])
    before = watch.read()
    times = os.stat(path / "metrics.jsonl")
    text = (path / "metrics.jsonl").read_text()
    (path / "metrics.jsonl").write_text("?" * len(text))
    os.utime(path / "metrics.jsonl", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert watch.read()[0].numbers == before[0].numbers
    with (path / "metrics.jsonl").open("w") as lines:
        lines.write(text + '{"step": 11, "kl_ref": 7.0}\n{"step": 12, "kl')
    (status,) = watch.read()
    assert (status.step, status.numbers["kl_ref"]) == (11, 7.0), "a line that is still being written is left for later"


def test_a_record_that_cannot_be_read_hides_no_other(tmp_path: Path) -> None:
    (online_run(tmp_path / "a") / "run.json").write_text("{")
    (online_run(tmp_path / "b") / "metrics.jsonl").write_text('{"loss": 1}\n')
    (online_run(tmp_path / "c") / "evaluations.jsonl").write_text("nonsense\n")
    (online_run(tmp_path / "d") / "timings.jsonl").write_text('{"step": 1, "elapsed": "soon"}\n')
    assert [status.status for status in StatusReader([tmp_path]).read()] == ["unreadable"] * 4


def test_runs_of_one_name_are_told_apart_and_new_ones_are_found(tmp_path: Path) -> None:
    for place in ("a/runs/kl", "b/runs/kl", "b/runs/none"):
        online_run(tmp_path / place)
    watch = StatusReader([tmp_path / "a", tmp_path])
    assert [status.name for status in watch.read()] == ["a/runs/kl", "b/runs/kl", "none"], "each once"
    online_run(tmp_path / "a/runs/late")
    assert [status.name for status in watch.read()] == ["a/runs/kl", "late", "b/runs/kl", "none"]


def test_a_place_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        StatusReader([tmp_path / "nowhere"])
