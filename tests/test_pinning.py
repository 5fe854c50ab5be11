from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from hub import LoopbackHub
from overopt.config import Choice, DataLocation, Location, block
from overopt.pinning import at_commit, pinned, resolve


@block
class Data:
    path: DataLocation


@block
class Stage:
    stage: ClassVar[str] = "stage"
    policy: Location
    others: tuple[Location, ...] = ()
    task: Annotated[Data, Choice()]


def test_every_name_is_resolved_and_pinned_at_its_address(loopback_hub: LoopbackHub, tmp_path: Path) -> None:
    main = loopback_hub.add("model", "a/policy", {"config.json": "{}"})
    old = loopback_hub.add("model", "a/policy", {"config.json": "{ }"}, "v1")
    data = loopback_hub.add("dataset", "a/data", {"x.jsonl": "{}"})
    stage = Stage(policy="a/policy", others=(str(tmp_path), "a/policy@v1"), task=Data(path="hf://datasets/a/data/x*"))
    pins = resolve(stage, {})
    assert pins == {
        "policy": {"location": "hf://a/policy", "revision": "main", "commit": main},
        "others.1": {"location": "hf://a/policy@v1", "revision": "v1", "commit": old},
        "task.path": {"location": "hf://datasets/a/data/x*", "revision": "main", "commit": data},
    }
    assert pinned(stage, pins) == Stage(
        policy=f"hf://a/policy@{main}",
        others=(str(tmp_path), f"hf://a/policy@{old}"),
        task=Data(path=f"hf://datasets/a/data@{data}/x*"),
    )
    assert at_commit(pins["task.path"]) == f"hf://datasets/a/data@{data}/x*"


def test_a_known_commit_is_kept_without_asking_as_long_as_the_name_is_the_same(loopback_hub: LoopbackHub) -> None:
    known = {"policy": {"location": "hf://a/policy", "revision": "main", "commit": "1" * 40}}
    stage = Stage(policy="a/policy", task=Data(path="/nowhere"))
    assert resolve(stage, known) == known and pinned(stage, known).policy == f"hf://a/policy@{'1' * 40}"
    assert loopback_hub.requests == []
    now = loopback_hub.add("model", "a/policy", {"config.json": "{}"}, "v2")
    moved = Stage(policy="a/policy@v2", task=Data(path="/nowhere"))
    assert resolve(moved, known)["policy"]["commit"] == now
    assert pinned(moved, known) is moved


def test_paths_alone_are_left_as_they_are() -> None:
    stage = Stage(policy="/x", task=Data(path="/y"))
    assert resolve(stage, {}) == {} and pinned(stage, {}) is stage
