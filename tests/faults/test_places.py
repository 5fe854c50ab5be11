"""Disks that fill, folders that may not be written, states that are damaged, clocks, copies, signals and locks."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny
from tiny import Chain

from faults import Config, Write, in_child, left_behind, run_in_child, steps_recorded
from overopt.records import load_run
from overopt.records import writer as writer_module
from overopt.scheduler import run_jobs
from overopt.scheduler.jobs import Event, Job, Progressed
from overopt.training.run.progress import Progress
from overopt.training.train import train

pytestmark = pytest.mark.long


@pytest.fixture
def config(chain_of: Callable[[str], Chain]) -> Config:
    return tiny.online(chain_of("gpt_neox untied"), total_episodes=72, checkpoint_every=3)


@pytest.fixture
def expected(config: Config, tmp_path: Path) -> dict[str, str]:
    assert run_in_child(config, tmp_path / "reference").status == 0
    return left_behind(tmp_path / "reference")


def killed_late(config: Config, out: Path) -> None:
    """A run of nine steps, killed while the state of the sixth and that of the third are kept."""

    def seen(now: Progress) -> None:
        if now.step == 8:
            os.kill(os.getpid(), signal.SIGKILL)

    assert run_in_child(config, out, seen=seen).signal == signal.SIGKILL
    assert sorted(path.name for path in (out / "trainer").iterdir()) == ["step-3", "step-6"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of a megabyte and a half."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1500k", "none", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"a disk of its own cannot be mounted here: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_loses_nothing_and_the_run_goes_on(
    config: Config, expected: dict[str, str], small_disk: Path, capsys: Any
) -> None:
    """At ten sizes of what else lies there the disk is full at another place; then there is room again."""
    said = []
    for filled in range(900_000, 1_500_000, 60_000):
        out, ballast = small_disk / "run", small_disk / "ballast"
        try:
            ballast.write_bytes(b"x" * filled)
        except OSError:
            pass  # it is full from the beginning
        ending = run_in_child(config, out)
        if ending.status != 0:
            assert ending.status == 2, ending.said
            said.append(f"{steps_recorded(out)}: {ending.said[-1].partition(': ')[2]}")
            if (out / "run.json").exists():
                load_run(out).metrics()
        ballast.unlink()
        ending = run_in_child(config, out)
        assert ending.status == 0, ending.said
        assert {k: v for k, v in left_behind(out).items() if k != "config.yaml"} == {
            k: v for k, v in expected.items() if k != "config.yaml"
        }
        shutil.rmtree(out)
    with capsys.disabled():
        print(f"\ndisk full in {len(said)} of 10 runs, at step: " + "\n  ".join(["", *said]))
    assert len(said) >= 5


def test_a_folder_that_may_not_be_written(config: Config, tmp_path: Path) -> None:
    killed_late(config, tmp_path / "run")
    before = left_behind(tmp_path / "run")

    def act(out: Path) -> Callable[[Callable[[str], None]], None]:
        def without_rights(say: Callable[[str], None]) -> None:
            if os.geteuid() == 0:
                drop_capabilities()
            train(config, out, notice=say)

        return without_rights

    for folder in (tmp_path / "run", tmp_path):
        folder.chmod(0o555)
    endings = [in_child(act(out)) for out in (tmp_path / "run", tmp_path / "new")]
    for folder in (tmp_path, tmp_path / "run"):
        folder.chmod(0o755)
    for ending in endings:
        assert ending.status == 2 and "cannot be written (Permission denied" in ending.said[-1], ending.said
    assert left_behind(tmp_path / "run") == before and not (tmp_path / "new").exists()


def drop_capabilities() -> None:
    """From here on permissions count for root, too (Linux)."""
    header = struct.pack("Ii", 0x20080522, 0)
    assert ctypes.CDLL(None, use_errno=True).capset(header, struct.pack("6I", *[0] * 6)) == 0


DAMAGE: dict[str, tuple[Callable[[Path], object], int, str]] = {
    "half of the tensors": (lambda out: halve(out / "trainer/step-6/tensors.safetensors"), 3, "tensors.safetensors is"),
    "no tensors": (lambda out: (out / "trainer/step-6/tensors.safetensors").unlink(), 3, "tensors.safetensors is miss"),
    "a bit of the tensors": (lambda out: flip(out / "trainer/step-6/tensors.safetensors"), 3, "not as it was written"),
    "half of the document": (lambda out: halve(out / "trainer/step-6/state.json"), 3, "state.json cannot be read"),
    "a bit of the document": (lambda out: flip(out / "trainer/step-6/state.json"), 3, "state.json"),
    "half of the checkpoint": (lambda out: halve(out / "checkpoints/step-6/model.safetensors"), 3, "model.safetensors"),
    "an earlier checkpoint": (lambda out: flip(out / "checkpoints/step-3/model.safetensors"), 0, "is damaged"),
    "both states": (lambda out: [halve(out / f"trainer/step-{n}/state.json") for n in (3, 6)], 0, "is damaged"),
    "the metrics": (lambda out: os.truncate(out / "metrics.jsonl", 100), 0, "metrics.jsonl has 100 bytes of"),
}
"""What is done to a run, the step that it goes on from, and what it says."""


def halve(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("name", DAMAGE)
def test_what_is_damaged_is_skipped(config: Config, expected: dict[str, str], tmp_path: Path, name: str) -> None:
    damage, step, message = DAMAGE[name]
    killed_late(config, tmp_path / "run")
    damage(tmp_path / "run")
    ending = run_in_child(config, tmp_path / "run")
    assert ending.status == 0, ending.said
    assert any(message in text for text in ending.said)
    assert left_behind(tmp_path / "run") == expected
    resumes = load_run(tmp_path / "run").info["resumes"]
    assert [resume["step"] for resume in resumes] == ([step] if step else [])


def test_a_clock_that_was_set_back(config: Config, expected: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "run"
    killed_late(config, out)
    for path in [*out.rglob("*")]:
        os.utime(path, (4e9, 4e9))  # written in 2096, as far as the files know
    for path in (out / "trainer/step-6").rglob("*"):
        os.utime(path, (1.0, 1.0))  # and the newest before all others

    def act(say: Callable[[str], None]) -> None:
        writer_module._now = lambda: "1970-01-01T00:00:01+00:00"
        train(config, out, notice=say)

    assert in_child(act).status == 0
    assert left_behind(out) == expected
    assert load_run(out).info["resumes"] == [{"step": 6, "time": "1970-01-01T00:00:01+00:00"}]


def test_a_copy_goes_on_elsewhere_and_the_original_too(
    config: Config, expected: dict[str, str], tmp_path: Path
) -> None:
    killed_late(config, tmp_path / "run")
    copy = tmp_path / "another" / "disk" / "copy"
    shutil.copytree(tmp_path / "run", copy)
    assert run_in_child(config, copy).status == 0
    assert {k: v for k, v in left_behind(copy).items() if k != "config.yaml"} == {
        k: v for k, v in expected.items() if k != "config.yaml"
    }
    assert load_run(copy).info["resumes"][0]["step"] == 6
    again = train(copy / "config.yaml", tmp_path / "repeated")  # its locations are those of the new place
    assert tiny.metrics(again) == tiny.metrics(load_run(copy))
    assert run_in_child(config, tmp_path / "run").status == 0
    assert left_behind(tmp_path / "run") == expected


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_keeps_the_step_and_a_second_one_leaves_at_once(
    config: Config, expected: dict[str, str], tmp_path: Path, number: int, code: int
) -> None:
    """Steps 5 and 7 are no checkpoints' steps."""
    out = tmp_path / "run"

    def signals(at: int, count: int) -> Callable[[Progress], None]:
        def seen(now: Progress) -> None:
            for _ in range(count if now.step == at else 0):
                os.kill(os.getpid(), number)

        return seen

    ending = run_in_child(config, out, seen=signals(5, 1))
    assert ending.status == code and ending.said == [
        f"{out}: stopped after step 5; the same command goes on from there"
    ]
    assert load_run(out).status == "interrupted" and steps_recorded(out) == 5
    ending = run_in_child(config, out, seen=signals(7, 2))
    assert ending.status == code and ending.said == [f"{out}: goes on after step 5 of 9"]
    assert load_run(out).status == "running" and steps_recorded(out) == 7
    assert run_in_child(config, out).status == 0
    assert left_behind(out) == expected
    assert [resume["step"] for resume in load_run(out).info["resumes"]] == [5, 6]


def test_a_second_process_refuses_and_a_dead_one_holds_nothing(
    config: Config, expected: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    refused: list[Any] = []

    def seen(now: Progress) -> None:
        if now.step == 2:
            refused.append(run_in_child(config, out))
            (tmp_path / "said").write_text(json.dumps([refused[0].status, refused[0].said]))
        if now.step == 4:
            os.kill(os.getpid(), signal.SIGKILL)

    assert run_in_child(config, out, seen=seen).signal == signal.SIGKILL
    status, said = json.loads((tmp_path / "said").read_text())
    assert status == 2 and "another process is at work here" in said[-1]
    assert run_in_child(config, out).status == 0
    assert left_behind(out) == expected


def test_two_that_start_at_once(config: Config, expected: dict[str, str], tmp_path: Path) -> None:
    """One of them makes the run; the other refuses, or finds it finished."""
    out = tmp_path / "run"
    other = os.fork()
    if other == 0:
        os._exit(run_in_child(config, out).status)
    here = run_in_child(config, out).status
    there = os.waitstatus_to_exitcode(os.waitpid(other, 0)[1])
    assert {here, there} in ({0, 2}, {0})
    assert left_behind(out) == expected


def test_killed_while_it_is_cleared(config: Config, expected: dict[str, str], tmp_path: Path) -> None:
    """Neither state is whole, so the run is cleared, and killed inside each of the first removals."""
    out = tmp_path / "run"
    killed_late(config, out)
    for step in (3, 6):
        halve(out / f"trainer/step-{step}/state.json")
    for number in range(1, 6):
        assert run_in_child(config, out, Write(number)).signal == signal.SIGKILL
    assert run_in_child(config, out).status == 0
    assert left_behind(out) == expected


def test_workers_of_a_scheduler_keep_the_step_that_they_are_at(tmp_path: Path) -> None:
    """As on Ctrl-C in a demo; then the same jobs go on."""
    jobs = [
        Job(name, tiny.sft(steps=150, checkpoint_every=150, seed=i), tmp_path / name) for i, name in enumerate("ab")
    ]

    def interrupt(event: Event) -> None:
        if isinstance(event, Progressed) and event.step < 150:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_jobs(jobs, workers=1, on_event=interrupt)
    kept = steps_recorded(tmp_path / "a")
    assert load_run(tmp_path / "a").status == "interrupted" and 0 < kept < 150
    notices: list[str] = []
    run_jobs(jobs, workers=1, on_event=lambda event: notices.append(getattr(event, "text", "")))
    assert f"{tmp_path / 'a'}: goes on after step {kept} of 150" in notices
    for job in jobs:
        assert run_in_child(dict(job.config), tmp_path / f"whole-{job.name}").status == 0
        whole = left_behind(tmp_path / f"whole-{job.name}")
        assert left_behind(job.out) == whole
