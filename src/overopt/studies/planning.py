"""What `overopt plan` is asked about: one stage, a study at one of its scales, or all runs of a sweep."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from overopt.config import load
from overopt.errors import UserError
from overopt.studies.expand import expand
from overopt.studies.study import load_study
from overopt.training.stages import STAGES


def stages_of(file: Path, scale: str | None = None, overrides: Sequence[tuple[str, str]] = ()) -> dict[str, Any]:
    """The stages of a YAML by name, of a sweep every single run; `overrides` are of one stage only."""
    if not _holds_runs(file):
        if scale is not None:
            raise UserError(f"--scale: {file} is one stage; only a study has scales")
        return {file.stem: load(STAGES, file, overrides)}
    if overrides:
        raise UserError(f"--{overrides[0][0]}: {file} holds many runs; change the file, or plan one stage")
    study = load_study(file)
    if study.grid or study.lists or study.seeds:
        study = expand(study, file, Path())
    return {run: load(STAGES, study.config(run, scale or study.default_scale, 0)) for run in study.runs}


def _holds_runs(file: Path) -> bool:
    """Whether it is a sweep's or a study's; one that cannot be read is none, and its loader says why."""
    try:
        return re.search(rb"^runs:", file.read_bytes(), re.MULTILINE) is not None
    except OSError:
        return False
