import json
import os
import subprocess
import sys
from pathlib import Path

import fake_sinks

from overopt.config import load
from overopt.integrations.follower import Task, task_line
from overopt.records import RunWriter


def test_a_task_survives_its_line(tmp_path: Path) -> None:
    sink = fake_sinks.Noting(file="x")
    line = task_line(tmp_path, sink, 2.5)
    assert line.count(b"\n") == 1
    assert load(Task, json.loads(line)) == Task(run=str(tmp_path), sink=sink, grace=2.5)


def followed(task: bytes) -> subprocess.CompletedProcess[bytes]:
    """The follower's process, its input ending behind its task: as if the run had been killed."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-m", "overopt.integrations.follower"]
    return subprocess.run(command, input=task, capture_output=True, env=environment, timeout=120, check=False)


def test_it_sends_what_there_is_when_the_run_is_gone(tmp_path: Path) -> None:
    with RunWriter.create(tmp_path / "run", "stage: sft\n", {}) as writer:
        writer.log(1, {"loss": 2.0})
    done = followed(task_line(tmp_path / "run", fake_sinks.Noting(file=str(tmp_path / "note")), 60.0))
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "note").read_text().splitlines()]
    assert lines == [[1, {"train/loss": 2.0}], "running"]


def test_what_the_user_can_mend_is_its_last_word(tmp_path: Path) -> None:
    done = followed(task_line(tmp_path / "gone", fake_sinks.Noting(file="x"), 60.0))
    assert done.returncode == 2
    assert done.stderr.decode().splitlines()[-1].endswith("gone: does not exist; expected a run directory")
