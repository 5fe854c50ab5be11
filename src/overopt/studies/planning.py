"""The stages that `overopt plan` is asked about: one stage, or every run of a study at one of its scales."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from overopt.config import load, locations
from overopt.errors import UserError
from overopt.studies.expand import expand
from overopt.training.stages import STAGES


def stages_of(file: Path, scale: str | None = None, overrides: Sequence[tuple[str, str]] = ()) -> dict[str, Any]:
    """The stages that a YAML describes, by name. `overrides` apply to a single stage only, `scale` to a study only."""
    if _value_of("runs", file) is None:
        if scale is not None:
            raise UserError(f"--scale: {file} is one stage; only a study has scales")
        return {file.stem: load(STAGES, file, overrides)}
    if overrides:
        raise UserError(f"--{overrides[0][0]}: {file} holds many runs; change the file, or plan one stage")
    return {run.name: load(STAGES, dict(run.config)) for run in expand(file, scale).runs.values()}


def missing_parents(file: Path, stages: Mapping[str, Any]) -> dict[str, Any]:
    """The stages that would train those parents of `stages` that do not exist yet, by the name of their run directory.

    A parent is looked for among the YAMLs beside `file`: the one of its name (`sft.yaml` for `out/sft`), or else the
    only one whose stage has that name. Other parents are left out.
    """
    found: dict[str, Any] = {}
    waiting = list(stages.values())
    while waiting:
        for location in map(Path, locations(waiting.pop()).values()):
            if location.exists() or location.name in (stages.keys() | found.keys()):
                continue
            if (trainer := _trainer(location.name, file.parent)) is not None:
                found[location.name] = load(STAGES, trainer)
                waiting.append(found[location.name])
    return found


def _trainer(name: str, folder: Path) -> Path | None:
    yamls = sorted(folder.glob("*.yaml"))
    named = [yaml for yaml in yamls if yaml.stem == name]
    named = named or [yaml for yaml in yamls if _value_of("stage", yaml) == name]
    return named[0] if len(named) == 1 else None


def _value_of(key: str, yaml: Path) -> str | None:
    """The first word behind a key at the top of a YAML, found without loading its plug-ins; None if it has no such key.

    The same for a file that cannot be read: the loader of a stage says why.
    """
    try:
        match = re.search(rf"^{key}: *(\w*)".encode(), yaml.read_bytes(), re.MULTILINE)
    except OSError:
        return None
    return match[1].decode() if match else None
