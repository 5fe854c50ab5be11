"""The command line: verbs, flags, messages and exit codes."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from overopt import cli
from overopt.cli import verbs
from overopt.errors import ConfigError, UserError


def run_overopt(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "import sys; from overopt.cli import main; sys.exit(main())", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def test_what_a_verb_raises_becomes_an_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def outcome_of(error: BaseException) -> tuple[int, str]:
        def verb(options: argparse.Namespace) -> int:
            raise error

        monkeypatch.setattr(verbs, "demo", verb)
        return cli.main(["demo"]), capsys.readouterr().err

    assert outcome_of(UserError("no such file")) == (2, "overopt: no such file\n")
    assert outcome_of(ConfigError(["a: bad", "b: bad"])) == (2, "overopt: a: bad\nb: bad\n")
    assert outcome_of(KeyboardInterrupt())[0] == 130
    code, error = outcome_of(ZeroDivisionError("division by zero"))
    assert code == 1
    assert "Traceback" in error
    assert "ZeroDivisionError: division by zero" in error


def test_bad_input_leaves_nothing_behind(tmp_path: Path) -> None:
    config = tmp_path / "sft.yaml"
    config.write_text("stage: sft\nlr: true\nstpes: 3\n")
    done = run_overopt("train", str(config), "--batch_size", "x", "--out", str(tmp_path / "run"))
    assert done.returncode == 2
    assert f"{config}:2: lr: expected a number, got true" in done.stderr
    assert f"{config}:3: stpes: unknown key (did you mean 'steps'?" in done.stderr
    assert '--batch_size: expected a whole number, got "x"' in done.stderr
    assert "Traceback" not in done.stderr
    assert "started" not in done.stderr, "nothing was"
    assert [path.name for path in tmp_path.iterdir()] == ["sft.yaml"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_the_demo_and_its_workers(tmp_path: Path, number: int, code: int) -> None:
    script = tmp_path / "main.py"
    script.write_text(
        "import sys\n"
        "import overopt.studies.run as studies\nfrom overopt.cli import main\n"
        "from overopt.scheduler import Job, run_jobs\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[1] / 'fakes')!r})\n"
        "def hang(jobs, **options):\n"
        "    job = Job(jobs[0].name, {'do': 'hang'}, jobs[0].out.parent.parent / 'slow')\n"
        "    return run_jobs([job], **options | {'train': 'fake_stages:train', 'executor': None})\n"
        "studies.run_jobs = hang\n"
        "if __name__ == '__main__':\n    sys.exit(main())\n"
    )
    out = tmp_path / "demo"
    process = subprocess.Popen(
        [sys.executable, str(script), "demo", "--out", str(out)], stderr=subprocess.PIPE, start_new_session=True
    )
    pid_file = out / "slow.pid"
    deadline = time.monotonic() + 30
    while not pid_file.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, number)
    process.communicate(timeout=20)
    assert process.returncode == code
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)


def test_torchrun_is_for_train_alone(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert cli.main(["demo"]) == 2
    assert "only `overopt train` divides its work" in capsys.readouterr().err


def test_messages_of_all_but_the_first_process_say_whose_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    file = tmp_path / "wrong.yaml"
    file.write_text("stage: sft\nlearning_rate: 1\n")
    for number, who in (("0", "overopt: "), ("1", "overopt: process 1 of 2: ")):
        monkeypatch.setenv("RANK", number)
        assert cli.main(["train", str(file), "--out", str(tmp_path / "run")]) == 2
        assert capsys.readouterr().err.startswith(f"{who}{file}:2: learning_rate")
