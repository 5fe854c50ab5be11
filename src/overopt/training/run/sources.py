"""The parents, data and code that a run is made of, known by hash: they may move, but must stay the same.

A location may read otherwise than when the run began, because the run or its sources were copied: then the content at
the new location decides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from overopt import config as configuration
from overopt.errors import UserError
from overopt.hub.names import parse
from overopt.models.adapter import holds_model
from overopt.models.load import model_folder
from overopt.pinning import pinned, resolve
from overopt.records import Run, changed, hash_file, hash_parent, load_run, model_files, parent_files
from overopt.records.states import SavedState, newest_state
from overopt.tasks.sources import Source


def data_hashes(task: Any, settled: Collection[str] = ()) -> dict[str, str]:
    """SHA-256 of the data at each location that a task names, by its address in a stage.

    Without those on the Hub at one of the `settled` commits, whose content cannot change.
    """
    named: Mapping[str, Source] = getattr(task, "sources", {})  # a task of the user's need not have any
    places = {address: Source(place) for address, place in configuration.locations(task).items()}
    sources = {a: s for a, s in {**places, **named}.items() if s.name is None or s.name.commit not in settled}
    files = {f"task.{address}": _files(source) for address, source in sources.items()}
    return {address: _hash(found) for address, found in files.items() if found}


def _files(source: Source) -> list[Path]:
    """The data files of a source: one, a folder's or a pattern's; none where it leads to something else."""
    try:
        return [file for file in source.files() if file.is_file()]
    except UserError:
        return []


def _hash(files: Sequence[Path]) -> str:
    """The hash of one file's content; of several files, of names (they give the order of records) and contents."""
    digests = [hash_file(file) for file in files]
    if len(files) == 1:
        return digests[0]
    return hashlib.sha256("".join(f"{f.name} {d}\n" for f, d in zip(files, digests, strict=True)).encode()).hexdigest()


def source_hashes(stage: Any, settled: Collection[str] = ()) -> dict[str, str]:
    """SHA-256 of each file of data, of a tokenizer and of code that a stage names, by its address.

    A folder's files follow its address (`model.tokenizer/tokenizer.json`), as do those of a plug-in, with all that it
    imports (`loss/my_module.py`). What is `settled` is left out, as in `data_hashes`.
    """
    hashes = data_hashes(stage.task, settled)
    tokenizer = configuration.locations(stage).get("model.tokenizer")
    name = None if tokenizer is None else parse(tokenizer)
    if tokenizer is not None and (name is None or name.commit not in settled):
        hashes |= {
            f"model.tokenizer/{name}": digest
            for name, digest in model_files(model_folder(tokenizer, "tokenizer")).items()
        }
    for address, code in configuration.plugin_files(stage).items():
        hashes |= {f"{address}/{name}": hash_file(file) for name, file in code.items()}
    return hashes


def may_lie_elsewhere(run: Run, address: str) -> bool:
    """Whether the run knows the content of this location by hash."""
    roles = {parent["role"] for parent in run.info.get("parents", [])}
    known = {_address(name) for name in run.info.get("data", {})}
    return address in known or address.partition(".")[0] in roles


def check_data_files(run: Run, found: Mapping[str, str]) -> None:
    """Refuse other data, or other code, than the run began with.

    What an earlier version did not record is not compared; nor is what is gone by now.
    """
    before = run.info.get("data", {})
    both = {_address(name) for name in before} & {_address(name) for name in found}
    names = changed(*({n: files[n] for n in files if _address(n) in both} for files in (before, found)))
    if names:
        what = "code has" if all(name.endswith(".py") for name in names) else "data have"
        raise UserError(
            f"{run.path}: its {what} changed since it began (the content of {', '.join(names)}); choose another --out"
        )


def _address(name: str) -> str:
    """The address under which a file was hashed: `ADDRESS/FILE` names a file of what the address leads to."""
    return name.partition("/")[0]


def check_parent(run: Path, before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> None:
    """Refuse another parent than the run began with; of one that an earlier version recorded, less is known."""
    files = {} if before is None else before.get("files", {})
    names = changed(files, now["files"]) if files else []
    if before is not None and not names and (files or before["hash"] == now["hash"]):
        return
    which = f" ({', '.join(names[:5])})" if names else ""
    raise UserError(f"{run}: its {now['role']} {now['path']} has been made anew since{which}; choose another --out")


def check_sources(run: Run, stage: Any, moved: Collection[str]) -> None:
    """A finished run is this configuration's only while its parents and its data are the ones it had.

    What is gone by now is no other one; but a location that reads otherwise must lead to what the run was made of.
    """
    stage = pinned(stage, resolve(stage, run.info.get("hub", {})))
    places = configuration.locations(stage)
    for address in moved:
        place = places[address]
        if parse(place) is None and not Path(place).exists() and not _files(Source(place)):
            raise UserError(f"{run.path}: made with another {address}, and {place} does not exist")
    elsewhere = {address.partition(".")[0]: places[address] for address in moved}
    for parent in run.info.get("parents", []):
        role, path = parent["role"], elsewhere.get(parent["role"], parent["path"])
        if role in elsewhere or (Path(path) / "run.json").is_file() or holds_model(Path(path)):
            folder = model_folder(path)
            now = {"hash": hash_parent(folder), "files": parent_files(folder)}
            check_parent(run.path, parent, parent | now | {"path": path})
    settled = {pin["commit"] for pin in run.info.get("hub", {}).values()}
    check_data_files(run, source_hashes(stage, settled))


def state_to_continue(
    out: Path, parents: Sequence[Mapping[str, Any]], machine: Mapping[str, Any], notice: Callable[[str], None]
) -> SavedState | None:
    """The last intact state, if there is one. Raises UserError for another parent; notices another machine."""
    state = newest_state(out, lambda damage: notice(f"{out}: {damage}"))
    if state is None:
        return None
    run = load_run(out)
    before = {parent["role"]: parent for parent in run.info.get("parents", [])}
    for parent in parents:
        check_parent(out, before.get(parent["role"]), parent)
    if changes := _changes(run, machine):
        notice(f"{out}: {changes}; numbers may differ in the last bits from those of one uninterrupted run")
    return state


def check_data(run: Run, steps: int, dropped: Mapping[str, Any], files: Mapping[str, str]) -> None:
    """Refuse to go on with other data than those the run began with."""
    check_data_files(run, files)
    if changes := _changes(run, {"steps": steps, "dropped": dropped}):
        raise UserError(f"{run.path}: its data have changed since it began ({changes}); choose another --out")


def _changes(run: Run, here: Mapping[str, Any]) -> str:
    names = [name for name in here if run.info.get(name) != here[name]]
    return ", ".join(f"{name} {run.info.get(name)} then, {here[name]} now" for name in names)
