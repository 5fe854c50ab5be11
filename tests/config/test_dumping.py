"""Plain trees of objects: names, stages, paths relative to a folder, and plug-ins."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from overopt.config import Choice, Location, addresses, block, dump, load, locations, plugins, save, to_yaml


class Color(Enum):
    RED = "red"


@block
class DPO:
    beta: float = 0.1


@block
class SimPO:
    gamma: float = 0.5


Loss = Annotated[DPO | SimPO, Choice()]


@block
class Optimizer:
    betas: tuple[float, float] = (0.9, 0.95)


@block
class Offline:
    stage: ClassVar[str] = "offline"
    policy: Location
    parents: tuple[Location, ...] = ()
    loss: Loss = SimPO()
    many: tuple[Loss, ...] = ()
    optimizer: Optimizer = Optimizer()
    color: Color = Color.RED
    nothing: int | None = None
    provenance: dict[str, str] = Field(default_factory=dict)


def test_dump_writes_everything_and_names_choices_only() -> None:
    assert dump(Offline(policy="/a/b", many=(DPO(), SimPO(gamma=1.0)))) == {
        "stage": "offline",
        "policy": "/a/b",
        "parents": [],
        "loss": {"name": "simpo", "gamma": 0.5},
        "many": [{"name": "dpo", "beta": 0.1}, {"name": "simpo", "gamma": 1.0}],
        "optimizer": {"betas": [0.9, 0.95]},
        "color": "red",
        "nothing": None,
        "provenance": {},
    }
    assert next(iter(dump(Offline(policy="/a")))) == "stage"


def test_locations_are_written_relative_to_a_folder(tmp_path: Path) -> None:
    tree = dump(Offline(policy=str(tmp_path / "sft"), parents=(str(tmp_path / "x/y"),)), tmp_path / "x")
    assert tree["policy"] == "../sft"
    assert tree["parents"] == ["y"]


def test_every_location_by_its_address(monkeypatch) -> None:
    monkeypatch.chdir("/")
    assert locations(Offline(policy="runs/sft", parents=("/x/y", "z"))) == {
        "policy": "/runs/sft",
        "parents.0": "/x/y",
        "parents.1": "/z",
    }


def test_save_and_load_give_the_same_object_from_any_directory(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "runs").mkdir()
    made = Offline(policy=str(tmp_path / "sft"), loss=DPO(beta=0.3), provenance={"loss.beta": "our choice"})
    save(made, tmp_path / "runs" / "config.yaml")
    monkeypatch.chdir(tmp_path / "runs")
    assert load(Offline, Path("config.yaml")) == made
    monkeypatch.chdir("/")
    assert load({"offline": Offline}, tmp_path / "runs" / "config.yaml") == made


def test_to_yaml_is_what_save_writes(tmp_path: Path) -> None:
    made = Offline(policy=str(tmp_path / "sft"))
    save(made, tmp_path / "c.yaml")
    assert (tmp_path / "c.yaml").read_text() == to_yaml(made, tmp_path)
    assert to_yaml(made, tmp_path).startswith("stage: offline\npolicy: sft\n")


def test_a_plug_in_from_a_file_is_found_again_from_the_saved_yaml(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("from overopt.config import block\n@block\nclass Mine:\n    k: int = 3\n")
    (tmp_path / "a.yaml").write_text("policy: x\nloss: {name: 'mine:Mine', k: 4}")
    made = load(Offline, tmp_path / "a.yaml")
    assert type(made.loss) is plugins.find(f"{tmp_path}/mine.py:Mine")
    (tmp_path / "runs").mkdir()
    save(made, tmp_path / "runs" / "config.yaml")
    assert dump(made, tmp_path / "runs")["loss"] == {"name": "../mine.py:Mine", "k": 4}
    assert load(Offline, tmp_path / "runs" / "config.yaml") == made


def test_addresses_are_flat() -> None:
    flat = addresses(Offline(policy="/a", many=(DPO(),)))
    assert flat["loss.name"] == "simpo"
    assert flat["many.0.beta"] == 0.1
    assert flat["optimizer.betas.1"] == 0.95
    assert flat["parents"] == []
    assert flat["provenance"] == {}
