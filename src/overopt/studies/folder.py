"""A study's directory: the claim that makes it one study's own, and files that are written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from overopt.errors import UserError
from overopt.records.atomic import replace_file
from overopt.studies.study import RUNS

CLAIM, SUMMARY = "study.json", "summary.json"


def claimed(out: Path) -> dict[str, object] | None:
    """What the directory's claim says; None if nobody claimed it."""
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out}: is a file; name a directory")
    try:
        found = json.loads((out / CLAIM).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except Exception as error:
        raise UserError(f"{out / CLAIM}: not JSON: {error}") from error
    return found if isinstance(found, dict) else {}


def make_claim(out: Path, ours: Mapping[str, object]) -> None:
    """Make a directory that nobody claimed ours; one with results in it is refused."""
    if taken := [name for name in (RUNS, SUMMARY) if (out / name).exists()]:
        raise UserError(f"--out {out}: holds {taken[0]}, which this study did not make; name another directory")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {out}: cannot be made: {error.strerror}") from error
    write_whole(out / CLAIM, ours)


def write_whole(path: Path, content: object) -> None:
    replace_file(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())
