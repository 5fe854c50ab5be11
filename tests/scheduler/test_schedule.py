"""The scheduler against fake training functions in real worker processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import fake_stages
import pytest

from overopt.scheduler import run_jobs
from overopt.scheduler.jobs import Event, Failed, Finished, Job, Noticed, Progressed, Skipped, Started

TRAIN = "fake_stages:train"


def job(folder: Path, name: str, parents: tuple[str, ...] = (), **config: Any) -> Job:
    return Job(name, config, folder / name, parents)


def record(folder: Path, name: str) -> tuple[int, float, float, str]:
    pid, began, ended, threads = (folder / name).read_text().split()
    return int(pid), float(began), float(ended), threads


def test_a_diamond_runs_in_order_side_by_side_in_two_persistent_processes(tmp_path: Path) -> None:
    jobs = [
        job(tmp_path, "bottom", ("left", "right")),
        job(tmp_path, "left", ("top",), seconds=0.4),
        job(tmp_path, "right", ("top",), seconds=0.4),
        job(tmp_path, "top"),
    ]
    results = run_jobs(jobs, workers=2, train=TRAIN)
    assert list(results) == ["bottom", "left", "right", "top"]
    assert {result.status for result in results.values()} == {"finished"}
    top, left, right, bottom = (record(tmp_path, name) for name in ("top", "left", "right", "bottom"))
    assert top[2] <= min(left[1], right[1])
    assert max(left[2], right[2]) <= bottom[1]
    assert left[1] < right[2] and right[1] < left[2], "the two in the middle overlap"
    assert len({top[0], left[0], right[0], bottom[0]}) == 2
    assert {run[3] for run in (top, left, right, bottom)} == {"1"}


def test_one_worker_takes_ready_jobs_in_the_order_of_the_list(tmp_path: Path) -> None:
    events: list[Event] = []
    run_jobs([job(tmp_path, name) for name in "cab"], workers=1, train=TRAIN, on_event=events.append)
    assert [event.job for event in events if isinstance(event, Started)] == ["c", "a", "b"]
    assert [type(event) for event in events[:3]] == [Started, Progressed, Finished]
    assert events[1] == Progressed("c", 1, 1, {"loss": 0.5})


def test_failures_take_down_descendants_only(tmp_path: Path) -> None:
    events: list[Event] = []
    jobs = [
        job(tmp_path, "refused", do="refuse"),
        job(tmp_path, "child", ("refused",)),
        job(tmp_path, "grandchild", ("child",)),
        job(tmp_path, "crashed", do="crash"),
        job(tmp_path, "dead", do="die"),
        job(tmp_path, "fine"),
    ]
    results = run_jobs(jobs, workers=1, train=TRAIN, on_event=events.append)
    assert {name: result.status for name, result in results.items()} == {
        "refused": "failed", "child": "skipped", "grandchild": "skipped",
        "crashed": "failed", "dead": "failed", "fine": "finished",
    }  # fmt: skip
    assert results["refused"].message == "lr: expected a number"
    assert results["refused"].traceback is None, "the user's to mend"
    assert results["crashed"].message == "ZeroDivisionError: division by zero"
    assert "fake_stages.py" in (results["crashed"].traceback or "")
    assert results["dead"].message == "its worker process ended: exit status 9"
    assert [event for event in events if isinstance(event, Skipped)] == [
        Skipped("child", "refused"),
        Skipped("grandchild", "refused"),
    ]
    assert len([event for event in events if isinstance(event, Failed)]) == 3


def test_what_crashes_is_tried_again_and_what_the_user_must_mend_is_not(tmp_path: Path) -> None:
    events: list[Event] = []
    jobs = [
        job(tmp_path, "shaky", do="die once"),
        job(tmp_path, "child", ("shaky",)),
        job(tmp_path, "dead", do="die"),
        job(tmp_path, "refused", do="refuse"),
    ]
    results = run_jobs(jobs, workers=1, train=TRAIN, on_event=events.append, retries=2)
    assert [result.status for result in results.values()] == ["finished", "finished", "failed", "failed"]
    started = [event.job for event in events if isinstance(event, Started)]
    assert {name: started.count(name) for name in results} == {"shaky": 2, "child": 1, "dead": 3, "refused": 1}
    assert Noticed("shaky", "failed, and is tried again: its worker process ended: exit status 9") in events
    assert [event.job for event in events if isinstance(event, Failed)] == ["dead", "refused"]


def test_an_obstacle_stops_a_job_and_its_descendants_and_is_asked_about_when_their_turn_comes(tmp_path: Path) -> None:
    asked: list[tuple[str, bool]] = []

    def obstacle(name: str) -> str | None:
        asked.append((name, (tmp_path / "top").exists()))
        return "the gate" if name == "middle" else None

    jobs = [job(tmp_path, "top"), job(tmp_path, "middle", ("top",)), job(tmp_path, "bottom", ("middle",))]
    results = run_jobs(jobs, workers=2, train=TRAIN, obstacle=obstacle)
    assert [result.status for result in results.values()] == ["finished", "skipped", "skipped"]
    assert results["bottom"].message == "not run, because the gate failed"
    assert asked == [("top", False), ("middle", True)]


def test_what_a_run_says_reaches_the_caller(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("made before")
    events: list[Event] = []
    run_jobs([job(tmp_path, "old")], workers=1, train=TRAIN, on_event=events.append)
    assert Noticed("old", "left alone") in events


def test_a_training_function_that_cannot_be_imported_fails_the_job(tmp_path: Path) -> None:
    results = run_jobs([job(tmp_path, "a")], workers=1, train="no_such_module:train")
    assert results["a"].message == "ModuleNotFoundError: No module named 'no_such_module'"


@pytest.mark.parametrize(
    ("jobs", "message"),
    [
        ([Job("a", {}, Path("a")), Job("a", {}, Path("b"))], "same name"),
        ([Job("a", {}, Path("a"), ("b",))], "job a: no such parent: b"),
        ([Job("a", {}, Path("a"), ("b",)), Job("b", {}, Path("b"), ("a",))], "cycle"),
    ],
)
def test_lists_that_make_no_sense(jobs: list[Job], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run_jobs(jobs, workers=1, train=TRAIN)


def test_an_exception_of_the_caller_stops_the_workers_at_once(tmp_path: Path) -> None:
    def stop(event: Event) -> None:
        deadline = time.monotonic() + 20
        while not (tmp_path / "slow.pid").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_jobs([job(tmp_path, "slow", do="hang")], workers=1, train=TRAIN, on_event=stop)
    assert time.monotonic() - began < 20
    assert not _alive(int((tmp_path / "slow.pid").read_text()))


def test_ctrl_c_reaches_only_the_scheduler_and_leaves_no_process(tmp_path: Path) -> None:
    """As in a terminal, the signal goes to the whole process group."""
    script = tmp_path / "main.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\nfrom overopt.scheduler import Job, run_jobs\n"
        f"sys.path.insert(0, {fake_stages.__file__.rpartition('/')[0]!r})\n"
        "if __name__ == '__main__':\n"
        "    folder = Path(sys.argv[1])\n"
        "    jobs = [Job('quick', {}, folder / 'quick'), Job('slow', {'do': 'hang'}, folder / 'slow', ('quick',))]\n"
        "    run_jobs(jobs, workers=2, train='fake_stages:train')\n"
    )
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 30
    while not (tmp_path / "slow.pid").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    worker = int((tmp_path / "slow.pid").read_text())
    os.kill(worker, signal.SIGINT)
    time.sleep(0.3)
    assert _alive(worker), "the signal is not for workers"
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=20)
    assert error.count("KeyboardInterrupt") == 1, "the workers say nothing"
    assert not _alive(worker)
    assert (tmp_path / "quick").exists()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
