"""Sinks beside real runs: whatever they do, the records are those of a run without them."""

import json
import time
from pathlib import Path

import fake_sinks
import pytest
import tiny

from overopt.integrations import beside
from overopt.integrations.beside import Beside
from overopt.records import Run, RunWriter
from overopt.training.stages import train


def records(run: Run) -> dict[str, bytes]:
    """All files that a repetition makes again, byte for byte, and the configuration."""
    names = ["config.yaml", "metrics.jsonl", "evaluations.jsonl"]
    files = [run.path / name for name in names] + sorted(run.path.glob("samples/*")) + sorted(run.path.glob("ch*/*/*"))
    return {str(file.relative_to(run.path)): file.read_bytes() for file in files}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(tiny.sft(), tmp_path_factory.mktemp("alone") / "run")


def warnings_of(said: list[str]) -> list[str]:
    return sorted(text for text in said if text.startswith("sink "))


def test_a_sink_that_raises_or_ends_its_process_changes_nothing(alone: Run, tmp_path: Path) -> None:
    said: list[str] = []
    sinks = ["fake_sinks:Raising", "fake_sinks:Exiting"]
    run = train(tiny.sft(sinks=sinks), tmp_path / "run", notice=said.append)
    assert (run.status, records(run)) == ("finished", records(alone))
    exiting, raising = warnings_of(said)  # once each
    assert exiting.startswith("sink exiting failed (exit status 3); the run and its records are not affected")
    assert raising.startswith("sink raising failed (ConnectionError: the network is unreachable)")


def test_a_sink_that_hangs_changes_nothing(alone: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside, "GRACE_SECONDS", 0.5)
    said: list[str] = []
    run = train(tiny.sft(sinks=["fake_sinks:Hanging"]), tmp_path / "run", notice=said.append)
    assert (run.status, records(run)) == ("finished", records(alone))
    (hanging,) = warnings_of(said)
    assert hanging.startswith("sink hanging failed (not done 0.5 s after the run)")


def test_a_sink_is_sent_the_run_and_its_end(tmp_path: Path) -> None:
    said: list[str] = []
    note = tmp_path / "note.jsonl"
    run = train(
        tiny.sft(sinks=[{"name": "fake_sinks:Noting", "file": str(note)}]), tmp_path / "run", notice=said.append
    )
    *rows, status = [json.loads(line) for line in note.read_text().splitlines()]
    assert status == "finished"
    sent = {row[0]: {} for row in rows}
    for step, values in rows:
        sent[step] |= values
    assert sorted(sent) == [1, 2, 3]
    assert [sent[step]["train/loss"] for step in sent] == run.series("loss")[1]
    assert sent[3]["evaluation/win_rate"] == run.evaluations()[-1]["win_rate"]
    assert not [text for text in said if text.startswith("sink ")]


def test_a_dead_sink_is_found_while_the_run_goes_on(tmp_path: Path) -> None:
    with RunWriter.create(tmp_path / "run", "stage: sft\n", {}) as writer:
        said: list[str] = []
        with Beside(writer.path, [fake_sinks.Raising()], said.append, grace=30.0) as sinks:
            deadline = time.monotonic() + 60
            while not said and time.monotonic() < deadline:
                time.sleep(0.1)
                sinks.look()
            sinks.look()
            assert len(said) == 1
    assert "overopt log" in said[0]
    assert len(said) == 1
