"""Whether an unfinished run can go on, and from where: its own state, the same parents, the same data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from overopt.errors import UserError
from overopt.records import Run, load_run
from overopt.records.states import SavedState, newest_state
from overopt.training.run.sources import check_data_files, check_parent


def state_to_continue(
    out: Path, parents: Sequence[Mapping[str, Any]], machine: Mapping[str, Any], notice: Callable[[str], None]
) -> SavedState | None:
    """The last state that is whole, if there is one; another parent is refused, another machine is told."""
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
    changed = [name for name in here if run.info.get(name) != here[name]]
    return ", ".join(f"{name} {run.info.get(name)} then, {here[name]} now" for name in changed)
