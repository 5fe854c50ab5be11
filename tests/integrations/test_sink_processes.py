"""Sinks beside real runs: whatever they do, the records are those of a run without them."""

import json
import socket
import threading
import time
from pathlib import Path

import fake_sinks
import pytest
import tiny
from tiny import Chain

from faults import left_behind
from overopt.integrations import sink_processes
from overopt.integrations.sink_processes import SinkProcesses
from overopt.records import Run, RunWriter
from overopt.training.run.progress import Progress
from overopt.training.train import train


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(tiny.sft(), tmp_path_factory.mktemp("alone") / "run")


def warnings_of(said: list[str]) -> list[str]:
    return sorted(text for text in said if text.startswith("sink "))


def test_a_sink_that_raises_or_ends_its_process_changes_nothing(alone: Run, tmp_path: Path) -> None:
    said: list[str] = []
    sinks = ["fake_sinks:Raising", "fake_sinks:Exiting"]
    run = train(tiny.sft(sinks=sinks), tmp_path / "run", notice=said.append)
    assert (run.status, left_behind(run.path)) == ("finished", left_behind(alone.path))
    exiting, raising = warnings_of(said)  # once each
    assert exiting.startswith("sink exiting failed (fake_sinks:Exiting raised SystemExit: 3 ")
    assert "the run and its records are not affected" in exiting
    assert raising.startswith(
        "sink raising failed (fake_sinks:Raising raised ConnectionError: the network is unreachable ("
    )


def test_a_sink_that_hangs_changes_nothing(alone: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sink_processes, "GRACE_SECONDS", 0.5)
    said: list[str] = []
    run = train(tiny.sft(sinks=["fake_sinks:Hanging"]), tmp_path / "run", notice=said.append)
    assert (run.status, left_behind(run.path)) == ("finished", left_behind(alone.path))
    (hanging,) = warnings_of(said)
    assert hanging.startswith("sink hanging failed (not done 0.5 s after the run)")


class Server:
    """Answers a number of rows, then loses the network: closes the connection, or never answers again."""

    def __init__(self, rows: int, closes: bool) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.rows, self.closes, self.lost = rows, closes, threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.listening.getsockname()[1])

    def _serve(self) -> None:
        self.connection, _ = self.listening.accept()
        with self.connection.makefile("rb") as lines:
            for _ in range(self.rows):
                lines.readline()
                self.connection.sendall(b".")
            lines.readline()
        self.lost.set()
        if self.closes:
            self.connection.close()


@pytest.mark.parametrize("stage", ["sft", "online"])
@pytest.mark.parametrize("closes", [True, False])
def test_a_sink_that_loses_its_network_halfway_changes_nothing(
    stage: str, closes: bool, chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run waits at its second step until the network is gone, so that there are steps with it and without."""
    monkeypatch.setattr(sink_processes, "GRACE_SECONDS", 0.5)
    config = tiny.sft() if stage == "sft" else tiny.online(chain)
    expected = left_behind(train(config, tmp_path / "alone").path)
    server, said = Server(rows=1, closes=closes), []

    def seen(now: Progress) -> None:
        if now.step == 2:
            assert server.lost.wait(60)

    sink = {"name": "fake_sinks:Networked", "port": server.port}
    run = train(config | {"sinks": [sink]}, tmp_path / "run", notice=said.append, progress=seen)
    assert left_behind(run.path) == expected
    (warning,) = warnings_of(said)
    why = "ConnectionError: the connection was closed" if closes else "not done 0.5 s after the run"
    assert warning.startswith(f"sink networked failed ({why}); the run and its records are not affected")
    if not closes:
        server.connection.settimeout(10)
        assert server.connection.recv(1) == b""  # the process that hung is gone


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
        with SinkProcesses(writer.path, [fake_sinks.Raising()], said.append) as sinks:
            deadline = time.monotonic() + 60
            while not said and time.monotonic() < deadline:
                time.sleep(0.1)
                sinks.warn_of_failures()
            sinks.warn_of_failures()
            assert len(said) == 1
    assert "overopt log" in said[0]
    assert len(said) == 1
