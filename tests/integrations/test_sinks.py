"""The libraries where they are installed, in ways that need no network; and what is said where they are not."""

import importlib.util
import sys
from pathlib import Path

import pytest

from overopt.errors import ConfigError, UserError
from overopt.integrations.replay import replay
from overopt.integrations.sinks import TensorBoard, Trackio, WandB, identity, sink_from
from overopt.records import Run, RunWriter, load_run


def needs(library: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(importlib.util.find_spec(library) is None, reason=f"{library} is an extra")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    with RunWriter.create(tmp_path / "runs" / "kl", "stage: online\nlr: 0.1\n", {"stage": "online"}) as writer:
        writer.evaluate({"step": 0, "judge": "gold", "split": "tuning", "win_rate": 0.25})
        for step in (1, 2):
            writer.log(step, {"loss": 1 / step})
        writer.finish("finished")
    return load_run(tmp_path / "runs" / "kl")


def test_a_sink_is_named_in_yaml() -> None:
    assert sink_from("tensorboard") == TensorBoard()
    assert sink_from("{name: wandb, project: mine}") == WandB(project="mine")
    assert sink_from("trackio") == Trackio()
    with pytest.raises(ConfigError, match="tensorboard"):
        sink_from("tensorbord")


@pytest.mark.parametrize("name", ["tensorboard", "trackio", "wandb"])
def test_a_library_that_is_not_there_is_an_extra(name: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (name, f"{name}.summary"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=rf"sink {name}: .*pip install 'overopt\[{name}\]'"):
        replay(run.path, sink_from(name))


def test_a_run_keeps_its_identity(run: Run, tmp_path: Path) -> None:
    assert identity(run) == identity(load_run(run.path))
    with RunWriter.create(tmp_path / "other", "stage: online\nlr: 0.2\n", {}) as writer:
        assert identity(load_run(writer.path)) != identity(run)


@needs("tensorboard")
def test_tensorboard_reads_what_was_sent_once(run: Run) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util import tensor_util

    for _ in range(2):  # the second replay takes the place of the first
        assert replay(run.path, TensorBoard()) == 3
    events = EventAccumulator(str(run.path / "tensorboard"))
    events.Reload()
    read = {
        tag: [(e.step, float(tensor_util.make_ndarray(e.tensor_proto))) for e in events.Tensors(tag)]
        for tag in ("train/loss", "evaluation/win_rate")
    }
    assert read == {"train/loss": [(1, 1.0), (2, 0.5)], "evaluation/win_rate": [(0, 0.25)]}


@needs("wandb")
def test_wandb_offline_holds_what_was_sent(run: Run, tmp_path: Path) -> None:
    assert replay(run.path, WandB(folder=str(tmp_path / "w"))) == 3
    (file,) = tmp_path.glob("w/wandb/offline-run-*/*.wandb")
    assert identity(run) in file.name
    content = file.read_bytes()  # a log of records that are not compressed
    assert content.count(b"evaluation/win_rate") >= 1
    assert content.count(b"train/loss") >= 2


@needs("trackio")
def test_trackio_holds_what_was_sent(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "trackio" not in sys.modules:
        monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    assert replay(run.path, Trackio(project="overopt-test")) == 3
    from trackio.sqlite_storage import SQLiteStorage

    logs = SQLiteStorage.get_logs("overopt-test", "kl")
    assert [(log["step"], log["train/loss"]) for log in logs if "train/loss" in log] == [(1, 1.0), (2, 0.5)]
