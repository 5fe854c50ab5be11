"""The YAMLs under examples/ are valid, named after their stage, and agree on what they hold out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from overopt.config import load
from overopt.tasks import Local
from overopt.training.stages import STAGES
from overopt.types import Dropped

EXAMPLES = Path(__file__).parents[1] / "examples"
YAMLS = sorted(EXAMPLES.rglob("*.yaml"))


def read(path: Path) -> Any:
    return load(STAGES, path)


def test_every_stage_has_an_example() -> None:
    assert {path.name.removesuffix("_miniature.yaml") for path in EXAMPLES.glob("*.yaml")} == set(STAGES)


@pytest.mark.parametrize("path", YAMLS, ids=lambda path: path.name)
def test_it_is_valid_and_bears_its_stage_in_its_name(path: Path) -> None:
    stage = read(path)
    assert path.name.startswith(stage.stage)
    assert [line for line in path.read_text("utf-8").splitlines() if line.startswith("lr: ")]


@pytest.mark.parametrize("path", YAMLS, ids=lambda path: path.name)
def test_every_departure_from_the_recipe_says_so(path: Path) -> None:
    """What differs from the stage's defaults is tagged, but for what names the work: task, parents, pairs, machine."""
    stage = read(path)
    free = {"task", "policy", "reward_model", "reference", "pairs", "seed", "compute", "checkpoint_every"}
    tagged = {address.split(".")[0] for address in stage.provenance}
    for name, field in type(stage).__pydantic_fields__.items():
        if name not in free and getattr(stage, name) != field.get_default(call_default_factory=True):
            assert name in tagged | {"provenance"}, f"{path.name}: {name} departs from the recipe without a tag"


def test_parents_do_not_depend_on_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    online = read(EXAMPLES / "online_miniature.yaml")
    assert Path(online.policy).resolve() == EXAMPLES.parent / "out" / "sft"


def test_the_real_model_is_trained_and_tested_on_the_same_split() -> None:
    tasks = [read(path).task for path in (EXAMPLES / "smollm2_llmbar").glob("*.yaml")]
    assert len(tasks) == 4
    assert all(task == tasks[0] for task in tasks)


@pytest.mark.parametrize(("name", "count"), [("natural", 100), ("adversarial_neighbor", 134)])
def test_llmbar_is_read_whole_and_no_prompt_is_on_both_sides(name: str, count: int) -> None:
    task = Local(path=str(EXAMPLES / "data" / f"llmbar_{name}.json"), prompt_style="chat_template", holdout=0.2)
    train, heldout = task.preferences(0, Dropped()), task.evaluation_preferences(0, Dropped())[1]
    assert len(train) + len(heldout) == count
    assert not {pair.prompt_id for pair in train} & {pair.prompt_id for pair in heldout}
    assert 0.1 < len(heldout) / count < 0.3
