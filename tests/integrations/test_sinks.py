"""Sinks without their libraries, which `make test-sinks` installs and tests: names, identities, what is said."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from overopt.errors import ConfigError, UserError
from overopt.integrations.replay import replay
from overopt.integrations.sinks import TensorBoard, Trackio, WandB, identity, sink_from
from overopt.records import Run, RunWriter, load_run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    with RunWriter.create(tmp_path / "runs" / "kl", "stage: online\nlr: 0.1\n", {"stage": "online"}) as writer:
        writer.log_evaluation({"step": 0, "judge": "gold", "split": "tuning", "win_rate": 0.25})
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


class FakeTrackio:
    """Its calls as far as they are used: runs with configurations, which can be deleted."""

    def __init__(self) -> None:
        self.kept: list[SimpleNamespace] = []

    def init(self, **settings: Any) -> SimpleNamespace:
        run = SimpleNamespace(rows=[], **settings)
        run.log = lambda values, step: run.rows.append((step, values))
        run.finish = lambda: None
        run.delete = lambda: self.kept.remove(run)
        self.kept.append(run)
        return run

    def Api(self) -> SimpleNamespace:
        return SimpleNamespace(runs=self._runs)

    def _runs(self, project: str) -> list[SimpleNamespace]:
        if not self.kept:
            raise ValueError(f"Project '{project}' does not exist")
        return self.kept


def test_trackio_replaces_the_same_run_and_no_other_of_its_name(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trackio = FakeTrackio()
    monkeypatch.setitem(sys.modules, "trackio", trackio)  # type: ignore[arg-type]
    with RunWriter.create(tmp_path / "others" / "kl", "stage: online\nlr: 0.2\n", {"stage": "online"}) as writer:
        writer.log(1, {"loss": 3.0})
    for path in (writer.path, run.path, run.path):
        replay(path, Trackio())
    assert [(kept.name, kept.rows) for kept in trackio.kept] == [
        ("kl", [(1, {"train/loss": 3.0})]),
        ("kl", [(0, {"evaluation/win_rate": 0.25}), (1, {"train/loss": 1.0}), (2, {"train/loss": 0.5})]),
    ]
    assert {kept.resume for kept in trackio.kept} == {"never"}
    replay(run.path, Trackio(space="me/space"))
    assert len(trackio.kept) == 3


def test_a_run_without_its_configuration_has_no_identity(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"its records cannot be read \(FileNotFoundError"):
        identity(Run(tmp_path, {}))
