"""Recipes and their rehearsals: the same study with other sizes, on invented repositories of the same names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from overopt import addresses
from overopt.config import yaml12
from overopt.studies.expand import ExpandedStudy, expand

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "examples" / "recipes"
SIZES = ROOT / "tests" / "rehearsal" / "sizes.yaml"
STAGES = ("sft", "reward_model", "online", "offline")

REHEARSED = {
    "pythia-tldr": ("1b", "6.9b"),
    "pythia-hh": ("2.8b",),
    "llama-ultrafeedback": ("1b", "8b"),
    "own-data": ("135m",),
}
"""The scales at which each recipe is rehearsed: each way of training that it has."""

MAY_DIFFER = {
    "machine": {"compute.device", "compute.threads"},
    "steps": {"steps", "total_episodes", "checkpoint_every", "schedule.warmup"},
    "sizes": {
        "batch_size", "episodes_per_update", "max_prompt_tokens", "max_completion_tokens", "task.evaluation_prompts",
        "task.limit",
    },
}  # fmt: skip
"""The addresses at which a rehearsal's configurations may differ from its recipe's."""


def recipe_file(recipe: str) -> Path:
    return RECIPES / recipe / "study.yaml"


def changes(recipe: str) -> dict[str, dict[str, Any]]:
    """Stage -> address -> value: what a rehearsal of this recipe changes."""
    sizes = yaml.safe_load(SIZES.read_text("utf-8"))
    own = sizes["recipes"].get(recipe, {})
    every = {**sizes.get("every", {}), **own.get("every", {})}
    return {stage: {**every, **sizes.get(stage, {}), **own.get(stage, {})} for stage in STAGES}


def write_rehearsal(recipe: str, scale: str, folder: Path) -> Path:
    """Write the recipe's study with the rehearsal's sizes; its file."""
    tree = yaml12.parse(recipe_file(recipe).read_text("utf-8")).tree
    at_scale = tree["scales"][scale]
    stages = {run["stage"] for run in tree["runs"].values()}
    for stage, values in changes(recipe).items():
        if stage in stages:
            at_scale[stage] = {**(at_scale.get(stage) or {}), **values}
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump(tree, sort_keys=False, width=120), encoding="utf-8")
    return file


def expanded(file: Path, scale: str) -> ExpandedStudy:
    """A study's runs as `overopt study` resolves them from the repository's root."""
    return expand(file, scale, base=ROOT)


def differences(recipe: ExpandedStudy, rehearsal: ExpandedStudy) -> Iterator[tuple[str, str, Any, Any]]:
    """Run, address and both values wherever the complete configurations of two studies differ."""
    for name in dict.fromkeys([*recipe.runs, *rehearsal.runs]):
        trees = [study.runs[name].config if name in study.runs else {} for study in (recipe, rehearsal)]
        for address, (ours, theirs) in addresses.differences(trees).items():
            yield name, address, ours, theirs


def describe(found: list[tuple[str, str, Any, Any]]) -> Iterator[str]:
    """A line for each address at which a rehearsal departs: values in the recipe and in the rehearsal."""
    by_address: dict[str, dict[str, None]] = {}
    for _, address, ours, theirs in found:
        by_address.setdefault(address, {})[f"{_text(ours)} -> {_text(theirs)}"] = None
    for kind, allowed in MAY_DIFFER.items():
        for address in sorted(allowed & by_address.keys()):
            yield f"{kind:8} {address}: {', '.join(by_address[address])}"
    for address in sorted(by_address.keys() - set().union(*MAY_DIFFER.values())):
        yield f"BEYOND   {address}: {', '.join(by_address[address])}"


def _text(value: Any) -> str:
    return "default" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
