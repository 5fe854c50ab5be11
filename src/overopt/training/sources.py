"""What a run was made of, its parents and its data files: known by hash, so that a run may be moved but never mixed.

A location may read otherwise than when the run began, because the run was copied or what it names was: then the content
there decides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from overopt import config as configuration
from overopt.datafiles import shards
from overopt.errors import UserError
from overopt.models.load import model_folder
from overopt.records import Run, hash_parent


def data_hashes(task: Any) -> dict[str, str]:
    """SHA-256 of the data at each location that a task names, by its address in a stage."""
    files = {f"task.{address}": _files(place) for address, place in configuration.locations(task).items()}
    return {address: _hash(found) for address, found in files.items() if found}


def _files(location: str) -> list[Path]:
    """The data files at a location: one, a folder's or a pattern's; none where it leads to something else."""
    try:
        return [file for file in shards(Path(location)) if file.is_file()]
    except UserError:
        return []


def _hash(files: Sequence[Path]) -> str:
    """Of one file its content's; of several also of their names, since their order is the records'."""
    digests = []
    for file in files:
        with file.open("rb") as content:
            digests.append(hashlib.file_digest(content, "sha256").hexdigest())
    if len(files) == 1:
        return digests[0]
    return hashlib.sha256("".join(f"{f.name} {d}\n" for f, d in zip(files, digests, strict=True)).encode()).hexdigest()


def may_lie_elsewhere(run: Run, address: str) -> bool:
    """Whether what this location names is known by hash."""
    roles = {parent["role"] for parent in run.info.get("parents", [])}
    return address in run.info.get("data", {}) or address.partition(".")[0] in roles


def check_data_files(run: Run, found: Mapping[str, str]) -> None:
    """Refuse other data than the run began with. Runs of before they were recorded have none to compare."""
    before = run.info.get("data", {})
    if changed := [address for address in before if found.get(address, before[address]) != before[address]]:
        raise UserError(
            f"{run.path}: its data have changed since it began (the content of {', '.join(changed)}); "
            "choose another --out"
        )


def check_sources(run: Run, stage: Any, moved: Collection[str]) -> None:
    """A finished run is this configuration's only while its parents and its data are the ones it had.

    What is gone by now is no other one; but a location that reads otherwise must lead to what the run was made of.
    """
    places = {address: Path(place) for address, place in configuration.locations(stage).items()}
    for address in moved:
        if not places[address].exists() and not _files(str(places[address])):
            raise UserError(f"{run.path}: made with another {address}, and {places[address]} does not exist")
    elsewhere = {address.partition(".")[0]: places[address] for address in moved}
    for parent in run.info.get("parents", []):
        role, path = parent["role"], elsewhere.get(parent["role"], Path(parent["path"]))
        if (role in elsewhere or (path / "run.json").is_file()) and hash_parent(model_folder(str(path))) != parent[
            "hash"
        ]:
            raise UserError(f"{run.path}: its {role} {path} has been made anew since; choose another --out")
    check_data_files(run, data_hashes(stage.task))
