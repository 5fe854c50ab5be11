"""From a study that varies settings to one of single runs: each with its name, its whole config and its own parents."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from overopt.config import dump, load, yaml12
from overopt.errors import ConfigError, UserError
from overopt.studies.grid import EVERY, LONGEST_NAME, Assignment, Axis, axes_at, axes_of, run_name
from overopt.studies.study import RUNS, Study, nearest, run_named, values_in

UNKNOWN_COST = 60.0
"""Seconds that a run is taken for if the study does not say; what was seen of the first runs soon outweighs it."""


@dataclass(frozen=True)
class Variant:
    """One run of the expanded study. `parents`: name in the study -> name of the variant it descends from."""

    run: str
    name: str
    assignment: Assignment
    values: Mapping[str, Any]
    """What the axes set, by address."""
    places: Mapping[str, tuple[str, ...]]
    """Where the file has each of them."""
    parents: Mapping[str, str]


def expand(study: Study, file: Path, out: Path) -> Study:
    """The study of single runs. Every config is checked first: one error names everything that is wrong.

    Paths in the study are relative to its file; `out` is where the runs will be.
    """
    variants = list(variants_of(study))
    _check_names(file, variants)
    runs, problems = {}, []
    for variant in variants:
        try:
            runs[variant.name] = _config(study, variant, file, out.resolve() / RUNS)
        except ConfigError as error:
            problems += [_placed(problem, study, variant, file) for problem in error.problems]
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    gates = [replace(gate, run=variant.name) for gate in study.gates for variant in variants if variant.run == gate.run]
    stages = {config["stage"] for config in runs.values()}
    return Study(
        name=study.name or file.stem,
        runs=runs,
        gates=tuple(gates),
        costs=dict.fromkeys(stages, UNKNOWN_COST) | study.costs,
        retries=study.retries,
    )


def only(study: Study, pattern: str) -> Study:
    """The runs whose name a pattern fits, and those they descend from."""
    chosen = [run for run in study.runs if fnmatchcase(run, pattern)]
    if not chosen:
        raise UserError(f"--only {pattern}: fits no run of {study.name}{nearest(pattern, study.runs)}")
    kept = set(chosen).union(*(study.ancestors(run) for run in chosen))
    runs = {run: config for run, config in study.runs.items() if run in kept}
    return replace(study, runs=runs, gates=tuple(gate for gate in study.gates if gate.run in kept))


def variants_of(study: Study) -> Iterator[Variant]:
    """Every run in all of its settings, in the order of the file."""
    axes = axes_of(study.grid, study.lists, study.seeds)
    known: dict[str, list[Variant]] = {}
    for run in study.runs:
        yield from _variants(study, axes, run, known, ())


def _variants(
    study: Study, axes: Sequence[Axis], run: str, known: dict[str, list[Variant]], below: tuple[str, ...]
) -> list[Variant]:
    if run in below:
        raise UserError(f"runs.{run} descends from itself")
    if run not in known:
        own = axes_at(axes, (EVERY, str(study.runs[run]["stage"]), run))
        known[run] = [
            variant
            for places in itertools.product(*(range(len(axis.points)) for axis in own))
            for variant in _descending(study, axes, run, dict(zip(own, places, strict=True)), known, (*below, run))
        ]
    return known[run]


def _descending(
    study: Study,
    axes: Sequence[Axis],
    run: str,
    own: Assignment,
    known: dict[str, list[Variant]],
    below: tuple[str, ...],
) -> Iterator[Variant]:
    """A run in one setting of its own axes, once for every choice of parents that agree with it and each other."""
    values: dict[str, Any] = {}
    places: dict[str, tuple[str, ...]] = {}
    for axis, point in own.items():
        values |= axis.points[point].values
        places |= dict.fromkeys(axis.points[point].values, axis.place)
    families: list[tuple[Assignment, dict[str, str]]] = [(own, {})]
    for parent in _parents(study, run, values):
        families = [
            (assignment | variant.assignment, parents | {parent: variant.name})
            for assignment, parents in families
            for variant in _variants(study, axes, parent, known, below)
            if all(variant.assignment.get(axis, point) == point for axis, point in assignment.items())
        ]
    for assignment, parents in families:
        name = run_name(run, assignment, list(own), axes)
        yield Variant(run, name, assignment, values, places, parents)


def _parents(study: Study, run: str, values: Mapping[str, Any]) -> list[str]:
    """The runs that this one names, where what the axes set has taken the place of what the run says."""
    tree = study.config(run, study.default_scale, 0)
    left = {key: value for key, value in tree.items() if key not in values}
    named = [run_named(value) for value in values_in([left, dict(values)])]
    return list(dict.fromkeys(name for name in named if name is not None))


def _config(study: Study, variant: Variant, file: Path, folder: Path) -> dict[str, Any]:
    """The whole config, checked; parents are written `runs/NAME`, every other path is absolute."""
    from overopt.training.stages import STAGES
    from overopt.training.train import check_provenance

    tree = _renamed(study.config(variant.run, study.default_scale, 0), variant.parents, folder)
    overrides = [
        (address, json.dumps(_renamed(value, variant.parents, folder))) for address, value in variant.values.items()
    ]
    base = file.resolve().parent
    stage = load(STAGES, tree, overrides, base=base, override_base=base)
    check_provenance(stage)
    inside = {str(folder / name): f"{RUNS}/{name}" for name in variant.parents.values()}
    complete: dict[str, Any] = _replaced(dump(stage), inside)
    return complete


def _renamed(tree: Any, parents: Mapping[str, str], folder: Path) -> Any:
    return _replaced(tree, {f"{RUNS}/{run}": str(folder / name) for run, name in parents.items()})


def _replaced(tree: Any, words: Mapping[str, str]) -> Any:
    """A tree with some of its texts replaced."""
    if isinstance(tree, Mapping):
        return {key: _replaced(value, words) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_replaced(value, words) for value in tree]
    return words.get(tree, tree) if isinstance(tree, str) else tree


def _check_names(file: Path, variants: Sequence[Variant]) -> None:
    counts = Counter(variant.name for variant in variants)
    problems = [
        f"{file}: {count} runs would be called {name!r}; name the values that read alike: {{word: value, ...}}"
        for name, count in counts.items()
        if count > 1
    ]
    problems += [
        f"{file}: the name {name[:60]}... has {len(name)} characters; name long values: {{word: value, ...}}"
        for name in counts
        if len(name) > LONGEST_NAME
    ]
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))


def _placed(problem: str, study: Study, variant: Variant, file: Path) -> str:
    """A config's problem with its place in the study's file: an axis if it is about what one set, else the run."""
    flag, colon, rest = problem.partition(": ")
    if flag.startswith("--") and flag[2:] in variant.places:
        place = variant.places[flag[2:]]
        inside = (*place, flag[2:]) if place[0] == "lists" else place
        return f"{_line(file, [place])}{'.'.join(inside)}{colon}{rest}"
    keys = tuple(flag.split("."))
    stage = str(study.runs[variant.run]["stage"])
    sources = [(RUNS, variant.run), *(("defaults", selector) for selector in (variant.run, stage, EVERY))]
    found = [(*source, *keys[:n]) for n in range(len(keys), 0, -1) for source in sources]
    return f"{_line(file, [*found, (RUNS, variant.run)])}{RUNS}.{variant.run}: {problem}"


def _line(file: Path, places: Sequence[tuple[str, ...]]) -> str:
    """`FILE:LINE: ` of the first place that the file has."""
    lines = yaml12.parse(file.read_text(encoding="utf-8-sig")).lines
    return next((f"{file}:{lines[place]}: " for place in places if place in lines), f"{file}: ")
