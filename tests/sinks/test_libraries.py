"""The sinks' own libraries, which `make test-sinks` installs; nothing here asks the network for anything."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util import tensor_util

from faults import left_behind
from overopt.integrations import sink_processes
from overopt.integrations.replay import replay
from overopt.integrations.sinks import TensorBoard, Trackio, WandB, identity
from overopt.records import Run, RunWriter, load_run
from overopt.training.train import train

SENT = {"train/loss": [(1, 1.0), (2, 0.5)], "evaluation/win_rate": [(0, 0.25)]}
LIVE = 5
"""Steps of the run beside which they run."""


@pytest.fixture(scope="session")
def trackio_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Read once, when the library is imported."""
    folder = tmp_path_factory.mktemp("trackio")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRACKIO_DIR", str(folder))
        yield folder


def make_run(path: Path, losses: tuple[float, ...] = (1.0, 0.5), lr: float = 0.1) -> Run:
    with RunWriter.create(path, f"stage: online\nlr: {lr}\n", {"stage": "online"}) as writer:
        writer.log_evaluation({"step": 0, "judge": "gold", "split": "tuning", "win_rate": 0.25})
        for step, loss in enumerate(losses, start=1):
            writer.log(step, {"loss": loss})
        writer.finish("finished")
    return load_run(path)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make_run(tmp_path / "runs" / "kl")


# --- What each of them holds after a replay, and after a second one


def test_tensorboard(run: Run) -> None:
    for _ in range(2):
        assert replay(run.path, TensorBoard()) == 3
    assert scalars(run.path / "tensorboard", *SENT) == SENT


def scalars(folder: Path, *names: str) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(folder))
    events.Reload()
    return {
        name: [(e.step, float(tensor_util.make_ndarray(e.tensor_proto))) for e in events.Tensors(name)]
        for name in names
    }


def test_wandb_offline(run: Run, tmp_path: Path) -> None:
    assert replay(run.path, WandB(folder=str(tmp_path / "w"))) == 3
    (file,) = tmp_path.glob("w/wandb/offline-run-*/*.wandb")
    assert identity(run) in file.name
    assert_holds(file, b"evaluation/win_rate", 1)
    assert_holds(file, b"train/loss", 2)


def assert_holds(file: Path, text: bytes, times: int) -> None:
    """W&B's file, a log of records that are not compressed; a process of its own writes it, and may take its time."""
    end = time.monotonic() + 60
    while file.read_bytes().count(text) < times:
        assert time.monotonic() < end, f"{file.name} does not come to hold {text!r}"
        time.sleep(0.2)


def test_trackio(run: Run, tmp_path: Path, trackio_folder: Path) -> None:
    other = make_run(tmp_path / "others" / "kl", losses=(3.0,), lr=0.2)
    for each in (other, run, run):
        replay(each.path, Trackio(project="replayed"))
    assert tracked("replayed", "kl") == {identity(other): [(1, 3.0)], identity(run): SENT["train/loss"]}


def tracked(project: str, name: str) -> dict[str, list[tuple[int, float]]]:
    """Losses of the runs of a name, by our identity of each; two of one identity would show as a failed assertion."""
    import trackio
    from trackio.sqlite_storage import SQLiteStorage

    found = {}
    for each in trackio.Api().runs(project):
        assert each.name == name and each.config["overopt_identity"] not in found
        logs = SQLiteStorage.get_logs(project, name, run_id=each.id)
        losses = [(log["step"], log["train/loss"]) for log in logs if "train/loss" in log]
        found[each.config["overopt_identity"]] = losses
    return found


# --- Beside a run


def test_all_of_them_beside_a_run_that_does_not_notice(
    tmp_path: Path, trackio_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink_processes, "GRACE_SECONDS", 120.0)  # they import for long, on a busy machine
    config = tiny.sft(steps=LIVE, checkpoint_every=LIVE)
    said: list[str] = []
    alone = train(config, tmp_path / "alone")
    tensorboard = {"name": "tensorboard", "folder": str(tmp_path / "tb")}
    wandb = {"name": "wandb", "folder": str(tmp_path / "w")}
    sinks: list[Any] = [tensorboard, wandb, {"name": "trackio", "project": "live"}]
    run = train(config | {"sinks": sinks}, tmp_path / "run", notice=said.append)
    assert left_behind(run.path) == left_behind(alone.path)
    assert not [text for text in said if text.startswith("sink ")]
    losses = [(row["step"], row["loss"]) for row in run.iter_metrics()]
    assert len(losses) == LIVE
    assert tracked("live", "run") == {identity(run): losses}
    (shown,) = scalars(tmp_path / "tb" / "run", "train/loss").values()
    assert [step for step, _ in shown] == [step for step, _ in losses]
    assert [loss for _, loss in shown] == pytest.approx([loss for _, loss in losses], rel=1e-6)
    (file,) = tmp_path.glob("w/wandb/offline-run-*/*.wandb")
    assert_holds(file, b"train/loss", LIVE)


def test_wandb_whose_server_cannot_be_reached_costs_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setattr(sink_processes, "GRACE_SECONDS", 5.0)
    said: list[str] = []
    alone = train(tiny.sft(), tmp_path / "alone")
    sink = {"name": "wandb", "mode": "online", "folder": str(tmp_path / "w")}
    run = train(tiny.sft(sinks=[sink]), tmp_path / "run", notice=said.append)
    assert left_behind(run.path) == left_behind(alone.path)
    (warning,) = [text for text in said if text.startswith("sink ")]
    assert warning.startswith("sink wandb failed (") and "the run and its records are not affected" in warning
