"""The environment of a run: versions, hardware and, in a git checkout, commit and hash of uncommitted changes."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_PACKAGES = ("overopt", "torch", "transformers", "numpy", "pydantic")


def environment() -> dict[str, Any]:
    """Return `versions`, `hardware` and, in a checkout, `commit` and `diff_hash` (None without changes)."""
    return {"versions": _versions(), "hardware": _hardware(), **_checkout(Path(__file__).parent)}


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:  # run from a source tree, or without torch
            continue
    return versions


def _hardware() -> dict[str, Any]:
    return {
        "system": platform.system(),
        "machine": platform.machine(),
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "usable_cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
    }


def _processor() -> str:
    """Return the processor's model name; `platform.processor()` is empty on most Linux systems."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor())


def _checkout(folder: Path) -> dict[str, str | None]:
    """Return commit and hash of changes of the checkout that tracks `folder`, if any (it tracks no site-packages)."""
    if not _git(folder, "ls-files", "."):
        return {}
    commit, changes = _git(folder, "rev-parse", "HEAD"), _git(folder, "diff", "HEAD")
    if commit is None:
        return {}
    return {
        "commit": commit.decode().strip(),
        "diff_hash": hashlib.sha256(changes).hexdigest() if changes else None,
    }


def _git(folder: Path, *arguments: str) -> bytes | None:
    try:
        return subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, check=True, timeout=10
        ).stdout
    except (OSError, subprocess.SubprocessError):  # no git, no checkout, no commit yet
        return None
