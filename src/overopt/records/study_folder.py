"""The folder of a study: the claim that reserves it for one study, its runs' places in the table, and their summary."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from overopt.errors import UserError
from overopt.records.atomic import replace_json
from overopt.records.layout import CLAIM, MEMBERS, RUNS, SUMMARY


def read_claim(folder: Path) -> dict[str, Any] | None:
    """The claim on a folder, or None if no study has claimed it."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--out {folder}: is a file; name a directory")
    try:
        claim = json.loads((folder / CLAIM).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except Exception as error:
        raise UserError(f"{folder / CLAIM}: not JSON: {error}") from error
    return claim if isinstance(claim, dict) else {}


def write_claim(folder: Path, claim: Mapping[str, Any]) -> None:
    """Create an unclaimed folder and claim it; a folder that already holds results is refused."""
    if taken := [name for name in (RUNS, SUMMARY) if (folder / name).exists()]:
        raise UserError(f"--out {folder}: holds {taken[0]}, which this study did not make; name another directory")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {folder}: cannot be made: {error.strerror}") from error
    replace_json(folder / CLAIM, claim)


def write_members(folder: Path, plan: Mapping[str, Any]) -> None:
    """Write row, setting and seed of every run, beside those that the folder already lists."""
    replace_json(folder / MEMBERS, {**plan, "runs": _planned(folder) | plan["runs"]})


def planned_seeds(folder: Path) -> list[int]:
    """The seeds of the runs that a study's folder lists, ascending; none if it is new."""
    return sorted({entry["seed"] for entry in _planned(folder).values()})


def _planned(folder: Path) -> dict[str, dict[str, Any]]:
    try:
        runs: dict[str, dict[str, Any]] = json.loads((folder / MEMBERS).read_bytes())["runs"]
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except Exception as error:
        raise UserError(f"{folder / MEMBERS}: not as overopt writes it ({error}); restore or remove it") from error
    return runs


def write_summary(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write one JSON object for each run in the study's table."""
    replace_json(folder / SUMMARY, rows)


def failed_gate_before(run: Path) -> str | None:
    """The gate that a run's study found closed before it, from the study's summary; None outside a study."""
    run = run.resolve()
    try:
        rows = json.loads((run.parent.parent / SUMMARY).read_bytes()) if run.parent.name == RUNS else []
    except Exception:  # no study's folder, or a summary of someone else's
        return None
    rows = rows if isinstance(rows, list) else []
    gates = [row.get("gate") for row in rows if isinstance(row, Mapping) and row.get("run") == run.name]
    return str(gates[0]) if gates and gates[0] is not None else None
