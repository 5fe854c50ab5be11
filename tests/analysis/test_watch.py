"""What is seen of runs while they go: from hand-written records, at a time that the test sets."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from fake_runs import ONLINE, Evaluated, base_run, online_run, write_run

from overopt.analysis.watch import QUIET_SECONDS, UNTIMED_SECONDS, Watch
from overopt.errors import UserError

TWO = (Evaluated(0, 4), Evaluated(10, 8, 0.5, -0.5, 1.0))
"""The fake run's steps take six seconds each."""


def test_a_run_that_goes_shows_its_step_pace_and_last_numbers(tmp_path: Path) -> None:
    online_run(tmp_path / "kl", TWO, status=None)
    (glance,) = Watch([tmp_path]).look()
    assert (glance.name, glance.stage, glance.status) == ("kl", "online", "running")
    assert (glance.step, glance.steps, glance.left) == (10, 20, 60.0)
    assert glance.numbers == {"win_rate": 0.8, "proxy": 0.5, "gold": -0.5, "kl_ref": 2.5}
    assert (glance.curve, glance.curve_of) == ((0.4, 0.8), "win rate")
    assert glance.silent is not None and glance.silent < 50


def test_a_run_is_stalled_after_ten_of_its_steps_without_a_word(tmp_path: Path) -> None:
    online_run(tmp_path / "kl", TWO, status=None)
    watch, now = Watch([tmp_path]), time.time()
    assert watch.look(now + QUIET_SECONDS - 5)[0].status == "running"
    (glance,) = watch.look(now + QUIET_SECONDS + 5)
    assert glance.status == "stalled"
    assert glance.silent == pytest.approx(QUIET_SECONDS + 5, abs=4)
    os.utime(tmp_path / "kl/metrics.jsonl", (now + 60, now + 60))
    assert watch.look(now + QUIET_SECONDS + 5)[0].status == "running", "it wrote again"


def test_longer_steps_earn_more_patience_and_so_does_a_run_without_any(tmp_path: Path) -> None:
    path = online_run(tmp_path / "slow", TWO, status=None)
    lines = [f'{{"step": {step}, "elapsed": {100.0 * step}}}\n' for step in range(1, 11)]
    (path / "timings.jsonl").write_text("".join(lines))
    write_run(tmp_path / "young", ONLINE, [], [], status=None)
    watch, now = Watch([tmp_path]), time.time()
    assert [glance.status for glance in watch.look(now + UNTIMED_SECONDS - 5)] == ["running", "running"]
    assert [glance.status for glance in watch.look(now + 950)] == ["running", "stalled"]
    assert [glance.status for glance in watch.look(now + 1005)] == ["stalled", "stalled"]


def test_what_has_ended_is_never_stalled_and_says_why(tmp_path: Path) -> None:
    online_run(tmp_path / "a", status="diverged", diverged_at=12)
    online_run(tmp_path / "b", status="failed")
    online_run(tmp_path / "c", status="stopped", reason="the win rate fell")
    base_run(tmp_path / "d")
    glances = Watch([tmp_path]).look(time.time() + 1e6)
    assert [glance.status for glance in glances] == ["diverged", "failed", "stopped", "finished"]
    assert [glance.reason for glance in glances] == ["at step 12", "", "the win rate fell", ""]
    assert (glances[3].curve, glances[3].curve_of) == ((1.0,), "loss")


def test_another_machines_clock_may_be_ahead(tmp_path: Path) -> None:
    online_run(tmp_path / "kl", TWO, status=None)
    assert Watch([tmp_path]).look(time.time() - 1000)[0].silent == 0.0


def test_only_what_changed_is_read_again(tmp_path: Path) -> None:
    path = online_run(tmp_path / "kl", TWO, status=None)
    watch = Watch([tmp_path])
    before = watch.look()
    times = os.stat(path / "metrics.jsonl")
    text = (path / "metrics.jsonl").read_text()
    (path / "metrics.jsonl").write_text("?" * len(text))
    os.utime(path / "metrics.jsonl", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert watch.look()[0].numbers == before[0].numbers
    with (path / "metrics.jsonl").open("w") as lines:
        lines.write(text + '{"step": 11, "kl_ref": 7.0}\n{"step": 12, "kl')
    (glance,) = watch.look()
    assert (glance.step, glance.numbers["kl_ref"]) == (11, 7.0), "a line that is still being written is left for later"


def test_a_record_that_cannot_be_read_hides_no_other(tmp_path: Path) -> None:
    (online_run(tmp_path / "a") / "run.json").write_text("{")
    (online_run(tmp_path / "b") / "metrics.jsonl").write_text('{"loss": 1}\n')
    (online_run(tmp_path / "c") / "evaluations.jsonl").write_text("nonsense\n")
    (online_run(tmp_path / "d") / "timings.jsonl").write_text('{"step": 1, "elapsed": "soon"}\n')
    assert [glance.status for glance in Watch([tmp_path]).look()] == ["unreadable"] * 4


def test_runs_of_one_name_are_told_apart_and_new_ones_are_found(tmp_path: Path) -> None:
    for place in ("a/runs/kl", "b/runs/kl", "b/runs/none"):
        online_run(tmp_path / place)
    watch = Watch([tmp_path / "a", tmp_path])
    assert [glance.name for glance in watch.look()] == ["a/runs/kl", "b/runs/kl", "none"], "each once"
    online_run(tmp_path / "a/runs/late")
    assert [glance.name for glance in watch.look()] == ["a/runs/kl", "late", "b/runs/kl", "none"]


def test_a_place_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        Watch([tmp_path / "nowhere"])
