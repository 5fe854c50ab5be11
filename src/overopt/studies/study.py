"""A study: a YAML list of runs with parents, at several scales, with gates. Loads one, resolves it to jobs.

```yaml
name: demo
default_scale: s
costs: {STAGE: seconds}                         # expected CPU seconds, only for the time left
gates: [{run: NAME, value: FIELD, at_least: X}] # FIELD of the last evaluation of the run NAME
defaults: {SELECTOR: {key: value}}
runs: {NAME: {stage: ..., key: value}}          # a value `runs/NAME` makes NAME a parent
scales: {SCALE: {SELECTOR: {dotted.address: value}}}
retries: 1                                      # how often a run is tried again that failed through no fault of yours
```

A selector is a run, a stage or `"*"`; the narrower wins, and of two that are equally narrow the scale's.
What a study varies (`grid`, `lists`, `seeds`) `grid.py` explains; `expand.py` makes of it a study of single runs.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from overopt.config import block, load
from overopt.errors import UserError
from overopt.scheduler import Job
from overopt.studies.grid import EVERY, problems_in

RUNS = "runs"
Tree = dict[str, Any]


@block
class Gate:
    """What a run must have reached for the runs that descend from it to count."""

    run: str
    value: str
    at_least: float

    @property
    def name(self) -> str:
        return f"{self.run}.{self.value}"


@block
class Study:
    """The YAML's fields. The stages' configs in it are raw trees: the stages check them."""

    runs: dict[str, Tree]
    name: str = ""
    scales: dict[str, dict[str, Tree]] = field(default_factory=lambda: {"": {}})
    default_scale: str = ""
    defaults: dict[str, Tree] = field(default_factory=dict)
    gates: tuple[Gate, ...] = ()
    costs: dict[str, float] = field(default_factory=dict)
    grid: dict[str, Tree] = field(default_factory=dict)
    lists: dict[str, Any] = field(default_factory=dict)
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = ()
    retries: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if problems := list(_problems(self)):
            raise ValueError("; ".join(problems))
        if cycle := next((run for run in self.runs if _reaches_itself(self, run)), None):
            raise ValueError(f"runs.{cycle} descends from itself")
        return self

    def config(self, run: str, scale: str, seed: int) -> dict[str, Any]:
        """The stage config of one run; parents are still written `runs/NAME`."""
        if scale not in self.scales:
            raise UserError(f"--scale {scale}: no such scale; {self.name} has {', '.join(self.scales)}")
        own, stage = self.runs[run], str(self.runs[run]["stage"])
        tree: dict[str, Any] = {"stage": stage, "seed": seed}
        for selector in (EVERY, stage, run):
            tree = merge(tree, self.defaults.get(selector, {}))
        for selector in (EVERY, stage):
            tree = _with_addresses(tree, self.scales[scale].get(selector, {}))
        return _with_addresses(merge(tree, own), self.scales[scale].get(run, {}))

    def parents(self, run: str, scale: str | None = None) -> tuple[str, ...]:
        """The runs that this one names, in order, without repetition."""
        named = (run_named(value) for value in values_in(self.config(run, scale or self.default_scale, 0)))
        return tuple(dict.fromkeys(name for name in named if name is not None))

    def ancestors(self, run: str) -> set[str]:
        parents = self.parents(run)
        return set(parents).union(*(self.ancestors(parent) for parent in parents))

    def gates_before(self, run: str) -> list[Gate]:
        return [gate for gate in self.gates if gate.run in self.ancestors(run)]

    def jobs(self, out: Path, scale: str, seed: int, prefix: str = "") -> list[Job]:
        """One job a run, in `out/runs/NAME`; `prefix` keeps the names of several seeds apart."""
        out = out.resolve()
        return [
            Job(
                name=prefix + run,
                config=_located(self.config(run, scale, seed), out),
                out=out / RUNS / run,
                parents=tuple(prefix + parent for parent in self.parents(run, scale)),
                cost=self.costs.get(str(self.runs[run]["stage"]), 1.0),
            )
            for run in self.runs
        ]

    def fingerprint(self, scale: str, seed: int) -> str:
        """SHA-256 of every config: changes when a version of the study would train something else."""
        configs = {run: self.config(run, scale, seed) for run in self.runs}
        return hashlib.sha256(json.dumps(configs, sort_keys=True).encode()).hexdigest()


def load_study(path: Path) -> Study:
    return load(Study, path)


def merge(tree: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid over `tree`. A mapping with another `name` is another choice, and replaces instead."""
    merged = copy.deepcopy(dict(tree))
    for key, value in over.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict) and value.get("name", old.get("name")) == old.get("name"):
            merged[key] = merge(old, value)
        else:
            merged[key] = copy.deepcopy(value)
    return merged


def _with_addresses(tree: dict[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    for address, value in values.items():
        nested: Any = value
        for key in reversed(address.split(".")):
            nested = {key: nested}
        tree = merge(tree, nested)
    return tree


def _problems(study: Study) -> Iterator[str]:
    """What does not fit together."""
    if not study.runs:
        yield "runs: there are none"
    yield from problems_in(study.grid, study.lists, study.seeds)
    for run, config in study.runs.items():
        if not isinstance(config.get("stage"), str):
            yield f"runs.{run} has no stage"
        if not re.fullmatch(r"[\w+=,][\w.+=,-]*", run):
            yield f"runs.{run}: a run's name is a folder's: letters, digits and _ . + = , - only"
    stages = {str(config.get("stage")) for config in study.runs.values()}
    selectors = {"defaults": study.defaults, "grid": study.grid, "lists": study.lists} | {
        f"scales.{scale}": block for scale, block in study.scales.items()
    }
    for where, chosen in selectors.items():
        for selector in chosen.keys() - study.runs.keys() - stages - {EVERY}:
            yield f"{where}.{selector}: neither a run nor a stage{nearest(selector, [*study.runs, *stages])}"
    for place, gate in enumerate(study.gates):
        if gate.run not in study.runs:
            yield f"gates.{place}.run: no run {gate.run!r}{nearest(gate.run, study.runs)}"
    for value in values_in([study.runs, study.defaults, study.scales, study.grid, study.lists]):
        parent = run_named(value)
        if parent is not None and parent not in study.runs:
            yield f"{value}: no such run{nearest(parent, study.runs)}"
    if study.default_scale not in study.scales:
        yield f"default_scale: no scale {study.default_scale!r}{nearest(study.default_scale, study.scales)}"


def nearest(word: str, words: Iterable[str]) -> str:
    words = list(words)
    close = get_close_matches(word, words, n=1)
    return f" (did you mean {close[0]!r}?)" if close else f" (valid: {', '.join(words)})"


def values_in(tree: Any) -> Iterator[Any]:
    """The leaves of a tree of mappings and lists."""
    if isinstance(tree, Mapping):
        tree = tree.values()
    elif not isinstance(tree, list | tuple):
        yield tree
        return
    for value in tree:
        yield from values_in(value)


def run_named(value: Any) -> str | None:
    return value.removeprefix(f"{RUNS}/") if isinstance(value, str) and value.startswith(f"{RUNS}/") else None


def _located(tree: Any, out: Path) -> Any:
    """The same tree with `runs/NAME` as an absolute path."""
    if isinstance(tree, Mapping):
        return {key: _located(value, out) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_located(value, out) for value in tree]
    return str(out / tree) if run_named(tree) else tree


def _reaches_itself(study: Study, run: str) -> bool:
    seen: set[str] = set()
    reached = list(study.parents(run))
    while reached:
        name = reached.pop()
        if name == run:
            return True
        if name not in seen:
            seen.add(name)
            reached += study.parents(name)
    return False
