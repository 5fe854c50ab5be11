"""Saved trainer states in `trainer/step-N/`, from which an interrupted run resumes. They are verified when read.

A state is committed by its last rename; before that, the checkpoint of the same step is ignored. `state.json` holds
what the record was at that step: the length of each line file, and the checkpoints with their hashes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from overopt.records import layout
from overopt.records.atomic import file_hashes, remove_entry, remove_folder, replace_file, whole_folder
from overopt.records.hashing import Hashes

DOCUMENT = "state.json"
TENSORS = "tensors.safetensors"
RETAINED = 2
"""States that a running run keeps: the last, and the one before in case the last is damaged."""


@dataclass(frozen=True)
class SavedState:
    """The state of a run after `step` updates."""

    step: int
    lengths: dict[str, int]
    """Size in bytes of each line file, by name."""
    checkpoints: dict[int, Hashes]
    """The checkpoints that the run kept by then, and the hashes of their files."""
    trainer: dict[str, Any]
    """The trainer's own values; its tensors are in the file `tensors`."""
    tensors: Path


class DamagedState(Exception):
    """Says why a state cannot be resumed from."""


def write_state(run: Path, state: SavedState, write_tensors: Callable[[Path], None]) -> None:
    """Write a state atomically, with its hashes."""
    with whole_folder(layout.state_folder(run, state.step)) as folder:
        write_tensors(folder / TENSORS)
        document = {
            "step": state.step,
            "files": file_hashes(folder),
            "lengths": state.lengths,
            "checkpoints": state.checkpoints,
            "trainer": state.trainer,
        }
        text = json.dumps(document)
        replace_file(folder / DOCUMENT, json.dumps({"sha256": _digest(text), "state": text}).encode())


def retained_states(run: Path) -> list[int]:
    return layout.steps_in(run / layout.STATES)


def newest_state(run: Path, warn: Callable[[str], None]) -> SavedState | None:
    """Return the last state that, like its record, is undamaged; warn of damaged ones. None if there is none."""
    for step in reversed(retained_states(run)):
        try:
            return read_state(run, step)
        except DamagedState as damage:
            warn(f"the state of step {step} is damaged ({damage}) and skipped")
    return None


def read_state(run: Path, step: int) -> SavedState:
    """Read one state and check it against its hashes and the record; DamagedState if they differ."""
    try:
        return _read_state(run, step)
    except DamagedState:
        raise
    except Exception as error:  # damage may raise anything
        raise DamagedState(f"{type(error).__name__}: {error}") from error


def _read_state(run: Path, step: int) -> SavedState:
    folder = layout.state_folder(run, step)
    document = _read_document(folder / DOCUMENT)
    if document["step"] != step:
        raise DamagedState(f"it is of step {document['step']}")
    _compare(folder, document["files"], file_hashes(folder))
    checkpoints = {int(key): hashes for key, hashes in document["checkpoints"].items()}
    for kept, hashes in checkpoints.items():
        checkpoint = layout.checkpoint_folder(run, kept)
        if checkpoint.is_dir():  # a missing one was removed by the user: a run never loses one
            _compare(checkpoint, hashes, file_hashes(checkpoint))
    for name, length in document["lengths"].items():
        size = (run / name).stat().st_size if (run / name).is_file() else 0
        if length > size:
            raise DamagedState(f"{name} has {size} bytes of {length}")
    return SavedState(document["step"], document["lengths"], checkpoints, document["trainer"], folder / TENSORS)


def checkpoints_of(run: Path, step: int) -> set[int]:
    """Return the steps of the checkpoints that a state refers to; none if it is damaged."""
    try:
        document = _read_document(layout.state_folder(run, step) / DOCUMENT)
    except DamagedState:
        return set()
    return {int(key) for key in document["checkpoints"]}


def prune(run: Path, states: Collection[int], checkpoints: Collection[int]) -> None:
    """Remove all states and checkpoints other than these."""
    for step in set(retained_states(run)) - set(states):
        remove_folder(layout.state_folder(run, step))
    for step in set(layout.steps_in(run / layout.CHECKPOINTS)) - set(checkpoints):
        remove_folder(layout.checkpoint_folder(run, step))


def remove_states(run: Path) -> None:
    """Remove all saved states of a run that has ended."""
    remove_entry(run / layout.STATES)


def _read_document(file: Path) -> dict[str, Any]:
    try:
        outer = json.loads(file.read_bytes())
        if _digest(outer["state"]) != outer["sha256"]:
            raise DamagedState(f"{file.name} is not as it was written")
        document: dict[str, Any] = json.loads(outer["state"])
    except DamagedState:
        raise
    except Exception as error:
        raise DamagedState(f"{file.name} cannot be read") from error
    return document


def _compare(folder: Path, written: Mapping[str, str], found: Mapping[str, str]) -> None:
    for name in sorted(written):
        if name not in found:
            raise DamagedState(f"{folder.parent.name}/{folder.name}/{name} is missing")
        if written[name] != found[name]:
            raise DamagedState(f"{folder.parent.name}/{folder.name}/{name} is not as it was written")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
