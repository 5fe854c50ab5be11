"""A study: a YAML file that lists runs with their parents, what varies between them, and gates.

```yaml
name: demo
title: Miniature study
default_scale: s
costs: {SELECTOR: seconds}                      # expected CPU seconds, used for estimates of time only
gates: [{run: NAME, value: FIELD, at_least: X}] # FIELD of the run's last evaluation; `stops: false`: no label
                                                # NAME may be a pattern; `scales: [SCALE, ...]`: only at these
defaults: {SELECTOR: {key: value}}
runs: {NAME: {stage: ..., key: value}}          # a value `runs/NAME` makes NAME a parent
scales: {SCALE: {SELECTOR: {dotted.address: value}}}
scale_grids: {SCALE: {SELECTOR: {...}}}         # what replaces the values of `grid` at a scale
scale_costs: {SCALE: {SELECTOR: seconds}}       # what replaces `costs` at a scale
scale_seeds: {SCALE: [seed, ...]}               # what replaces `seeds` at a scale
resources: {SELECTOR: {gpus: 1, cpus: 4}}       # what a run takes up of a cluster's machine, see `resources.py`
retries: 1                                      # how often a run that crashed is tried again
judge: {name: openai, model: gpt-4o-mini}       # who judges all checkpoints of the policies when the runs have ended
```

A selector is a run, a pattern of runs' names (`"*-1B*"`), a stage or `"*"`. The narrower selector wins, of several
patterns the last; of two that are equally narrow, the scale's does.
`axes.py` explains `grid`, `lists` and `seeds`; `expand.py` resolves a study into single runs.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from overopt.config import block, load
from overopt.config.messages import did_you_mean
from overopt.errors import UserError
from overopt.evaluation.judges import Judge
from overopt.records.layout import RUNS
from overopt.studies.axes import EVERY, problems_in
from overopt.studies.resources import Resources, resources_of

Tree = dict[str, Any]
Seed = Annotated[int, Field(ge=0)]

UNKNOWN_COST = 60.0
"""Seconds assumed for a run whose cost the study does not give; the first finished runs soon correct the estimate."""


@block
class Gate:
    """The value that a run must reach for the runs that descend from it to be judged."""

    run: str
    """A run, or a pattern of runs' names."""
    value: str
    at_least: float
    stops: bool = True
    """Whether the descendants are skipped behind a closed gate; otherwise they run and get no label."""
    scales: tuple[str, ...] | None = None
    """The scales at which there is this gate; null: all."""

    @property
    def name(self) -> str:
        return f"{self.run}.{self.value}"


@block
class Study:
    """The fields of the YAML. The configurations of the runs are raw trees here: `expand` checks them."""

    runs: dict[str, Tree]
    name: str = ""
    title: str = ""
    scales: dict[str, dict[str, Tree]] = field(default_factory=lambda: {"": {}})
    default_scale: str = ""
    defaults: dict[str, Tree] = field(default_factory=dict)
    gates: tuple[Gate, ...] = ()
    costs: dict[str, float] = field(default_factory=dict)
    grid: dict[str, Tree] = field(default_factory=dict)
    scale_grids: dict[str, dict[str, Tree]] = field(default_factory=dict)
    lists: dict[str, Any] = field(default_factory=dict)
    scale_costs: dict[str, dict[str, float]] = field(default_factory=dict)
    seeds: tuple[Seed, ...] = ()
    scale_seeds: dict[str, tuple[Seed, ...]] = field(default_factory=dict)
    resources: dict[str, Resources] = field(default_factory=dict)
    retries: Annotated[int, Field(ge=0)] = 0
    judge: Judge | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if problems := list(_problems(self)):
            raise ValueError("; ".join(problems))
        return self

    def config(self, run: str, scale: str, seed: int) -> Tree:
        """The raw configuration of one run, before `grid`, `lists` and `seeds`; parents are written `runs/NAME`."""
        if scale not in self.scales:
            raise UserError(f"--scale {scale}: no such scale; {self.name} has {', '.join(self.scales)}")
        own, at_scale = self.runs[run], self.scales[scale]
        tree: Tree = {"stage": str(own["stage"]), "seed": seed}
        for selector in self.selectors(run, [*self.defaults, *at_scale]):
            tree = merge(tree, self.defaults.get(selector, {}))
            tree = merge(tree, own) if selector == run else tree
            tree = _with_addresses(tree, at_scale.get(selector, {}))
        return tree

    def selectors(self, run: str, given: Iterable[str]) -> list[str]:
        """The selectors that choose a run, from wide to narrow: `*`, its stage, patterns as `given`, its name."""
        stage = str(self.runs[run]["stage"])
        patterns = [one for one in dict.fromkeys(given) if one not in (EVERY, stage, run) and fnmatchcase(run, one)]
        return [EVERY, stage, *patterns, run]

    def grid_at(self, scale: str) -> dict[str, Tree]:
        """`grid` with the values that the scale replaces."""
        return {
            selector: self.grid.get(selector, {}) | self.scale_grids.get(scale, {}).get(selector, {})
            for selector in [*self.grid, *self.scale_grids.get(scale, {})]
        }

    def seeds_at(self, scale: str) -> tuple[int, ...]:
        return self.scale_seeds.get(scale, self.seeds)

    def gates_at(self, scale: str) -> list[Gate]:
        return [gate for gate in self.gates if gate.scales is None or scale in gate.scales]

    def cost(self, run: str, scale: str) -> float:
        """Expected seconds of a run."""
        costs = self.scale_costs.get(scale, self.costs)
        known = [costs[selector] for selector in self.selectors(run, costs) if selector in costs]
        return known[-1] if known else UNKNOWN_COST

    def resources_for(self, run: str, config: Mapping[str, Any]) -> dict[str, float]:
        """What a run with this complete configuration takes up of a cluster's machine, by Ray's names."""
        chosen = self.selectors(run, self.resources)
        return resources_of(config, [self.resources[selector] for selector in chosen if selector in self.resources])

    def fingerprint(self, scale: str, seed: int) -> str:
        """SHA-256 of every configuration: it changes if another version of the study would train something else."""
        configs = {run: self.config(run, scale, seed) for run in self.runs}
        return hashlib.sha256(json.dumps(configs, sort_keys=True).encode()).hexdigest()


def load_study(path: Path) -> Study:
    return load(Study, path)


def merge(tree: Mapping[str, Any], over: Mapping[str, Any]) -> Tree:
    """`tree` with the values of `over`. A mapping with another `name` is another choice and replaces the old one."""
    merged = copy.deepcopy(dict(tree))
    for key, value in over.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict) and value.get("name", old.get("name")) == old.get("name"):
            merged[key] = merge(old, value)
        else:
            merged[key] = copy.deepcopy(value)
    return merged


def _with_addresses(tree: Tree, values: Mapping[str, Any]) -> Tree:
    for address, value in values.items():
        nested: Any = value
        for key in reversed(address.split(".")):
            nested = {key: nested}
        tree = merge(tree, nested)
    return tree


def _problems(study: Study) -> Iterator[str]:
    """What contradicts itself in a study."""
    if not study.runs:
        yield "runs: there are none"
    for scale in dict.fromkeys(["", *study.scale_grids, *study.scale_seeds]):
        yield from problems_in(study.grid_at(scale), study.lists, study.seeds_at(scale))
    for run, config in study.runs.items():
        if not isinstance(config.get("stage"), str):
            yield f"runs.{run} has no stage"
        if not re.fullmatch(r"[\w+=,][\w.+=,-]*", run):
            yield f"runs.{run}: a run's name is a folder's: letters, digits and _ . + = , - only"
    stages = {str(config.get("stage")) for config in study.runs.values()}
    selectors: dict[str, Mapping[str, Any]] = {
        "defaults": study.defaults,
        "grid": study.grid,
        "lists": study.lists,
        "resources": study.resources,
        **{f"scales.{scale}": block for scale, block in study.scales.items()},
        **{f"scale_grids.{scale}": block for scale, block in study.scale_grids.items()},
        **{f"scale_costs.{scale}": block for scale, block in study.scale_costs.items()},
    }
    for where, chosen in selectors.items():
        for selector in chosen.keys() - study.runs.keys() - stages - {EVERY}:
            if not any(fnmatchcase(run, selector) for run in study.runs):
                known = did_you_mean(selector, [*study.runs, *stages])
                yield f"{where}.{selector}: neither a run nor a stage, nor a pattern of runs ({known})"
    named: dict[str, Iterable[str]] = {
        "scale_grids": study.scale_grids,
        "scale_costs": study.scale_costs,
        "scale_seeds": study.scale_seeds,
        **{f"gates.{place}.scales": gate.scales or () for place, gate in enumerate(study.gates)},
    }
    for where, scales in named.items():
        for scale in set(scales) - study.scales.keys():
            yield f"{where}.{scale}: no such scale ({did_you_mean(scale, study.scales)})"
    for place, gate in enumerate(study.gates):
        if not any(fnmatchcase(run, gate.run) for run in study.runs):
            yield f"gates.{place}.run: no run {gate.run!r} ({did_you_mean(gate.run, study.runs)})"
    trees = [study.runs, study.defaults, study.scales, study.grid, study.scale_grids, study.lists]
    for parent in runs_named_in(trees):
        if parent not in study.runs:
            yield f"{RUNS}/{parent}: no such run ({did_you_mean(parent, study.runs)})"
    if study.default_scale not in study.scales:
        yield f"default_scale: no scale {study.default_scale!r} ({did_you_mean(study.default_scale, study.scales)})"


def runs_named_in(tree: Any) -> list[str]:
    """Every NAME of a value `runs/NAME` in a tree, in order, without repetition."""
    return list(dict.fromkeys(_runs_named_in(tree)))


def _runs_named_in(tree: Any) -> Iterator[str]:
    if isinstance(tree, Mapping):
        tree = list(tree.values())
    if isinstance(tree, list | tuple):
        for value in tree:
            yield from _runs_named_in(value)
    elif isinstance(tree, str) and tree.startswith(f"{RUNS}/"):
        yield tree.removeprefix(f"{RUNS}/")
