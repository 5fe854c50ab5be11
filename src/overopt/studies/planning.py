"""The stages that `overopt plan` is asked about: one stage, or every run of a study at one of its scales."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from overopt.config import load, locations
from overopt.errors import UserError
from overopt.hub.names import parse
from overopt.studies.expand import expand
from overopt.studies.run import PACKAGED
from overopt.training.stages import STAGES


def study_file(named: Path) -> Path:
    """The YAML that is named: a file, or a study of the package by its name."""
    packaged = PACKAGED / f"{named}.yaml"
    return packaged if len(named.parts) == 1 and packaged.is_file() and not named.exists() else named


def stages_of(
    file: Path,
    scale: str | None = None,
    overrides: Sequence[tuple[str, str]] = (),
    inputs: Path | None = None,
    only: Sequence[str] = (),
) -> dict[str, Any]:
    """The stages that a YAML describes, by name. `overrides` apply to a single stage only, the rest to a study only.

    Relative paths of a study start from `inputs`: by default from the folder of its file or, if it is one of the
    package, from the working directory.
    """
    if _value_of("runs", file) is None:
        for flag, given in {"--scale": scale is not None, "--inputs": inputs is not None, "--only": only}.items():
            if given:
                raise UserError(f"{flag}: {file} is one stage; this is for a study of many runs")
        return {file.stem: load(STAGES, file, overrides)}
    if overrides:
        raise UserError(f"--{overrides[0][0]}: {file} holds many runs; change the file, or plan one stage")
    if inputs is None and file.resolve().parent == PACKAGED.resolve():
        inputs = Path.cwd()
    study = expand(file, scale, base=inputs)
    chosen = study.matching(only) if only else study.runs
    return {name: load(STAGES, dict(study.runs[name].config)) for name in chosen}


def missing_parents(file: Path, stages: Mapping[str, Any]) -> dict[str, Any]:
    """The stages that would train those parents of `stages` that do not exist yet, by the name of their run directory.

    A parent is looked for among the YAMLs beside `file`: the one of its name (`sft.yaml` for `out/sft`), or else the
    only one whose stage has that name. Other parents are left out.
    """
    found: dict[str, Any] = {}
    waiting = list(stages.values())
    while waiting:
        for location in (Path(place) for place in locations(waiting.pop()).values() if parse(place) is None):
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
