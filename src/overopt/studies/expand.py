"""Resolves a study into single runs, each with its name, its complete configuration and its own parents."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from overopt.config import dump, load, yaml12
from overopt.config.messages import did_you_mean
from overopt.errors import ConfigError, UserError
from overopt.evaluation.judges.base import JudgeProtocol
from overopt.records.layout import RUNS
from overopt.studies.axes import EVERY, LONGEST_NAME, Assignment, axes_at, axes_of, run_name, setting_of
from overopt.studies.study import Gate, Study, load_study, runs_named_in


@dataclass(frozen=True)
class SingleRun:
    """One run: its complete, checked configuration, in which parents are written `runs/NAME`."""

    name: str
    config: Mapping[str, Any]
    parents: tuple[str, ...]
    cost: float
    """Expected seconds."""
    row: str = ""
    """The run of the file that this is a variant of."""
    setting: Mapping[str, Any] = field(default_factory=dict)
    """What the axes set, without the seed, by the last part of its address or the label in the file."""
    resources: Mapping[str, float] = field(default_factory=lambda: {"CPU": 1.0})
    """What it takes up of a cluster's machine."""

    @property
    def seed(self) -> int:
        return int(self.config["seed"])

    @property
    def stage(self) -> str:
        return str(self.config["stage"])


@dataclass(frozen=True)
class ExpandedStudy:
    """The single runs of a study in the order of its file, and what connects them."""

    name: str
    title: str
    runs: Mapping[str, SingleRun]
    gates: tuple[Gate, ...] = ()
    retries: int = 0
    judge: JudgeProtocol | None = None

    def ancestors(self, run: str) -> set[str]:
        parents = self.runs[run].parents
        return set(parents).union(*(self.ancestors(parent) for parent in parents))

    def gates_before(self, run: str) -> list[Gate]:
        """The gates at ancestors of a run."""
        return [gate for gate in self.gates if gate.run in self.ancestors(run)]

    def matching(self, patterns: Sequence[str]) -> list[str]:
        """The runs that a glob pattern chooses, by their own name or by that of their row, and their ancestors."""
        chosen: set[str] = set()
        for pattern in patterns:
            found = {n for n, run in self.runs.items() if fnmatchcase(n, pattern) or fnmatchcase(run.row, pattern)}
            if not found:
                names = [*(run.row for run in self.runs.values()), *self.runs]
                raise UserError(f"--only {pattern}: matches no run of {self.name} ({did_you_mean(pattern, names)})")
            chosen |= found
        kept = set(chosen).union(*(self.ancestors(run) for run in chosen))
        return [run for run in self.runs if run in kept]


@dataclass(frozen=True)
class Variant:
    """One run of the study's file in one setting of its axes."""

    run: str
    name: str
    assignment: Assignment
    values: Mapping[str, Any]
    """The values that the axes set, by address."""
    setting: Mapping[str, Any]
    """The same by short name, without the seed."""
    places: Mapping[str, tuple[str, ...]]
    """Where the file holds each of these values."""
    parents: Mapping[str, str]
    """The name of each parent in the file, and of the variant that this one descends from."""


def expand(
    file: Path,
    scale: str | None = None,
    seed: int = 0,
    seeds: Sequence[int] | None = None,
    base: Path | None = None,
) -> ExpandedStudy:
    """The single runs of a study's file; one error lists everything that is wrong with their configurations.

    Relative paths start from `base`, by default the folder of the file. `seed` is used by runs to which the study gives
    none; `seeds` replace those of the file.
    """
    study = load_study(file)
    scale = study.default_scale if scale is None else scale
    study = replace(study, seeds=study.seeds_at(scale) if seeds is None else tuple(seeds))
    folder = (base or file.parent).resolve()
    variants = _Variants(file, study, scale).all()
    _check_names(file, variants)
    runs, problems = {}, []
    for variant in variants:
        try:
            config = _complete_config(study.config(variant.run, scale, seed), variant, folder)
        except ConfigError as error:
            problems += [_located(problem, study, variant, file) for problem in error.problems]
            continue
        parents, cost = tuple(runs_named_in(config)), study.cost(variant.run, scale)
        needs = study.resources_for(variant.run, config)
        runs[variant.name] = SingleRun(variant.name, config, parents, cost, variant.run, variant.setting, needs)
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    gates = [
        replace(gate, run=variant.name)
        for gate in study.gates_at(scale)
        for variant in variants
        if fnmatchcase(variant.run, gate.run)
    ]
    name = study.name or file.stem
    return ExpandedStudy(name, study.title or name, runs, tuple(gates), study.retries, study.judge)


@dataclass
class _Variants:
    """Computes the variants of every run, parents first, and remembers them."""

    file: Path
    study: Study
    scale: str

    def __post_init__(self) -> None:
        self.axes = axes_of(self.study.grid_at(self.scale), self.study.lists, self.study.seeds)
        self.known: dict[str, list[Variant]] = {}

    def all(self) -> list[Variant]:
        """Every run in all of its settings, in the order of the file."""
        return [variant for run in self.study.runs for variant in self.of(run, ())]

    def of(self, run: str, descendants: tuple[str, ...]) -> list[Variant]:
        """The variants of one run; `descendants` are the runs for whose sake they are asked."""
        if run in descendants:
            raise ConfigError([f"{_line(self.file, [(RUNS, run)])}runs.{run} descends from itself"])
        if run not in self.known:
            own = axes_at(self.axes, self.study.selectors(run, [axis.selector for axis in self.axes]))
            self.known[run] = [
                variant
                for points in itertools.product(*(range(len(axis.points)) for axis in own))
                for variant in self._descending(run, dict(zip(own, points, strict=True)), (*descendants, run))
            ]
        return self.known[run]

    def _descending(self, run: str, own: Assignment, descendants: tuple[str, ...]) -> Iterator[Variant]:
        """A run in one setting of its own axes, once for each choice of parents that agree with it and each other."""
        values: dict[str, Any] = {}
        places: dict[str, tuple[str, ...]] = {}
        for axis, point in own.items():
            values |= axis.points[point].values
            places |= dict.fromkeys(axis.points[point].values, axis.place)
        families: list[tuple[Assignment, dict[str, str]]] = [(own, {})]
        for parent in self._parents(run, values):
            families = [
                (assignment | variant.assignment, parents | {parent: variant.name})
                for assignment, parents in families
                for variant in self.of(parent, descendants)
                if all(variant.assignment.get(axis, point) == point for axis, point in assignment.items())
            ]
        for assignment, parents in families:
            name = run_name(run, assignment, list(own), self.axes)
            yield Variant(run, name, assignment, values, setting_of(own), places, parents)

    def _parents(self, run: str, values: Mapping[str, Any]) -> list[str]:
        """The runs that the configuration names once the axes have set their values."""
        tree = self.study.config(run, self.scale, 0)
        return runs_named_in([{key: value for key, value in tree.items() if key not in values}, dict(values)])


def _complete_config(tree: Mapping[str, Any], variant: Variant, base: Path) -> dict[str, Any]:
    """The checked configuration with every default; parents are written `runs/NAME`, other paths are absolute."""
    from overopt.training.stages import STAGES
    from overopt.training.train import check_provenance

    folder = base / "<study>" / RUNS  # stands for the runs while other relative paths are resolved
    absolute = {f"{RUNS}/{run}": str(folder / name) for run, name in variant.parents.items()}
    overrides = [(address, json.dumps(replace_texts(value, absolute))) for address, value in variant.values.items()]
    stage: Any = load(STAGES, replace_texts(tree, absolute), overrides, base=base, override_base=base)
    check_provenance(stage)
    relative = {str(folder / name): f"{RUNS}/{name}" for name in variant.parents.values()}
    complete: dict[str, Any] = replace_texts(dump(stage), relative)
    return complete


def replace_texts(tree: Any, texts: Mapping[str, str]) -> Any:
    """A tree in which some texts are replaced by others."""
    if isinstance(tree, Mapping):
        return {key: replace_texts(value, texts) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [replace_texts(value, texts) for value in tree]
    return texts.get(tree, tree) if isinstance(tree, str) else tree


def _check_names(file: Path, variants: Sequence[Variant]) -> None:
    counts = Counter(variant.name for variant in variants)
    problems = [
        f"{file}: {count} runs would be called {name!r}; label the values that read alike: {{label: value, ...}}"
        for name, count in counts.items()
        if count > 1
    ]
    problems += [
        f"{file}: the name {name[:60]}... has {len(name)} characters; label long values: {{label: value, ...}}"
        for name in counts
        if len(name) > LONGEST_NAME
    ]
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))


def _located(problem: str, study: Study, variant: Variant, file: Path) -> str:
    """A configuration's problem with its place in the study's file: the axis that set the value, or else the run."""
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
    """`FILE:LINE: ` of the first of the places that the file holds."""
    lines = yaml12.parse(file.read_text(encoding="utf-8-sig")).lines
    return next((f"{file}:{lines[place]}: " for place in places if place in lines), f"{file}: ")
