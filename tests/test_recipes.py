"""The recipes: valid at every scale, rehearsed by nothing but sizes, and beside what is published, field by field."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import hub_world
import published
import pytest
import rehearsed

from overopt.addresses import flatten
from overopt.config import load
from overopt.studies.expand import ExpandedStudy
from overopt.studies.run import replication_run
from overopt.studies.study import load_study
from overopt.training.stages import STAGES

NAMES = sorted(path.parent.name for path in rehearsed.RECIPES.glob("*/study.yaml"))
SCALES = [(recipe, scale) for recipe in NAMES for scale in load_study(rehearsed.recipe_file(recipe)).scales]
REHEARSALS = [(recipe, scale) for recipe, scales in rehearsed.REHEARSED.items() for scale in scales]
PAGE = rehearsed.ROOT / "docs" / "recipes.md"


@cache
def resolved(recipe: str, scale: str) -> ExpandedStudy:
    return rehearsed.expanded(rehearsed.recipe_file(recipe), scale)


@pytest.mark.parametrize(("recipe", "scale"), SCALES)
def test_a_recipe_goes_from_fine_tuning_to_a_judge(recipe: str, scale: str) -> None:
    runs = resolved(recipe, scale).runs
    assert {run.stage for run in runs.values()} == set(STAGES)
    study = load_study(rehearsed.recipe_file(recipe))
    assert study.judge is not None and study.name == recipe
    named = [str(value) for run in runs.values() for value in flatten(run.config).values()]
    for location in {value for value in named if value.startswith("hf://")}:
        name = location.removeprefix("hf://")
        known = hub_world.DATA_SETS if name.startswith("datasets/") else hub_world.MODELS
        assert name.removeprefix("datasets/") in known


@pytest.mark.parametrize(("recipe", "scale"), SCALES)
def test_every_departure_from_the_published_recipe_says_so(recipe: str, scale: str) -> None:
    """As for the examples: what differs from a stage's defaults is tagged, but for parents, pairs and the machine."""
    free = {"task", "policy", "reward_model", "reference", "pairs", "seed", "compute", "model", "provenance"}
    for run in resolved(recipe, scale).runs.values():
        stage = load(STAGES, dict(run.config))
        tagged = {address.split(".")[0] for address in stage.provenance}
        for name, field in type(stage).__pydantic_fields__.items():
            if name not in free and getattr(stage, name) != field.get_default(call_default_factory=True):
                assert name in tagged, f"{run.name}: {name} departs from the recipe without a tag"


@pytest.mark.parametrize(("recipe", "scale"), REHEARSALS)
def test_a_rehearsal_differs_from_its_recipe_in_sizes_steps_and_machine_alone(
    recipe: str, scale: str, tmp_path: Path
) -> None:
    rehearsal = rehearsed.expanded(rehearsed.write_rehearsal(recipe, scale, tmp_path), scale)
    found = list(rehearsed.differences(resolved(recipe, scale), rehearsal))
    print(*rehearsed.describe(found), sep="\n")
    assert found
    beyond = [one for one in found if one[1] not in set().union(*rehearsed.MAY_DIFFER.values())]
    assert beyond == []
    ours, theirs = (load_study(file) for file in (rehearsed.recipe_file(recipe), tmp_path / "study.yaml"))
    assert (ours.judge, ours.gates, ours.seeds, ours.grid_at(scale)) == (
        theirs.judge, theirs.gates, theirs.seeds, theirs.grid_at(scale),
    )  # fmt: skip


def test_every_way_of_training_is_rehearsed() -> None:
    """A scale that is not rehearsed differs from one that is by model, learning rates and recomputation alone."""
    assert set(rehearsed.REHEARSED) == set(NAMES)
    rest = {"model.path", "compute.gradient_checkpointing", "lr"}
    for recipe, scale in SCALES:
        alike = [rehearsed.differences(resolved(recipe, other), resolved(recipe, scale))
                 for other in rehearsed.REHEARSED[recipe]]  # fmt: skip
        assert any({address for name, address, _, _ in one if not name.startswith("ME-")} <= rest for one in alike)


def test_the_rehearsals_world_is_told_by_a_difference(tmp_path: Path) -> None:
    """The comparison sees what it should: a changed coefficient, and a run that is not there."""
    file = rehearsed.write_rehearsal("pythia-hh", "2.8b", tmp_path)
    file.write_text(file.read_text().replace("coef: 0.05", "coef: 0.5"))
    found = list(rehearsed.differences(resolved("pythia-hh", "2.8b"), rehearsed.expanded(file, "2.8b")))
    assert ("KL-seed=0", "regularizers.0.coef", 0.05, 0.5) in found
    assert "BEYOND   regularizers.0.coef: 0.05 -> 0.5" in rehearsed.describe(found)


# pythia-tldr: the paper's setting


@pytest.mark.parametrize(("scale", "size"), [("1b", "1B"), ("2.8b", "2.8B")])
def test_the_study_of_the_paper_has_the_recipes_settings(scale: str, size: str) -> None:
    """Rows of `--scale-set pythia` and the recipe's runs: the same but for seeds and tags, and parents by name."""
    study = replication_run("maxent-failure-modes", None, "pythia", [44413], inputs=rehearsed.ROOT).study
    low = {"1B": "1e-6", "2.8B": "1e-7"}[size]
    pairs = {f"SFT-{size}": "SFT", f"RM-{size}": "RM", f"KL-{size}": "KL", f"ME-{size}-{low}-coef=0.1": f"ME-lr={low}"}
    pairs |= {"DPO-1B": "DPO", "SIMPO-1B-2e-7-gamma=0.5": "SIMPO"} if size == "1B" else {}
    for theirs, ours in pairs.items():
        first = flatten(study.runs[f"{theirs}-seed=44413"].config)
        second = flatten(resolved("pythia-tldr", scale).runs[f"{ours}-seed=44413"].config)
        for address in first.keys() | second.keys():
            if not address.startswith("provenance.") and not str(first.get(address)).startswith("runs/"):
                assert first.get(address) == second.get(address), f"{theirs}: {address}"


def test_every_setting_stands_beside_the_published_one_and_what_departs_is_tagged() -> None:
    study, written = resolved("pythia-tldr", "1b"), load_study(rehearsed.recipe_file("pythia-tldr"))
    for run, address, theirs, ours, tag in published.rows(study, written):
        assert theirs != "?", f"{run}: {address} is neither published nor without a counterpart"
        assert bool(tag) == (theirs != ours), f"{run}: {address}: {theirs} -> {ours}, tagged {tag!r}"
    for run in study.runs.values():
        departing = [a for name, a, theirs, ours, _ in published.rows(study, written) if theirs != ours]
        for tag in run.config["provenance"]:
            assert any(address == tag or address.startswith(f"{tag}.") for address in departing), f"{run.name}: {tag}"


def test_the_page_has_the_table() -> None:
    written = load_study(rehearsed.recipe_file("pythia-tldr"))
    assert published.table(resolved("pythia-tldr", "1b"), written) in PAGE.read_text("utf-8"), (
        "print published.table(...)"
    )
