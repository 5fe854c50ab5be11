"""Atomic writes: files and folders appear whole or not at all, even after a power failure."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from overopt.errors import UserError

PARTIAL = ".{}.partial"
"""Name of a file or folder being written or removed; a killed run may leave one behind."""


def replace_file(path: Path, content: bytes) -> None:
    """Write a file and its parents atomically: readers see the old content or the new. UserError if that fails."""
    temporary = path.with_name(PARTIAL.format(path.name))
    with writing(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
            try:
                write_all(file, content)
                os.fsync(file)
            finally:
                os.close(file)
            temporary.replace(path)
            sync_folder(path.parent)
        except BaseException:
            with suppress(OSError):  # the folder is not writable, so there is nothing to remove
                temporary.unlink(missing_ok=True)
            raise


def replace_json(path: Path, content: Any) -> None:
    """Write a JSON file atomically, indented and without NaN; paths and scalars of numpy or torch are converted."""
    text = json.dumps(content, indent=2, allow_nan=False, default=to_plain)
    replace_file(path, (text + "\n").encode())


def to_plain(value: Any) -> Any:
    """Turn numpy and torch scalars and paths into plain Python values; leave other values as they are."""
    if isinstance(value, Path):
        return str(value)
    return value.item() if hasattr(value, "item") else value


def write_all(file: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:  # a disk that is nearly full takes a part first and fails on the rest
        rest = rest[os.write(file, rest) :]


@contextmanager
def whole_folder(final: Path) -> Iterator[Path]:
    """Yield a folder to write into; it is renamed to `final` once the block has succeeded and all is on the disk."""
    partial = final.with_name(PARTIAL.format(final.name))
    shutil.rmtree(partial, ignore_errors=True)  # left by a run that was killed here
    try:
        partial.mkdir(parents=True)
        yield partial
        _sync(partial)
        remove_folder(final)
        partial.rename(final)
        sync_folder(final.parent)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        if isinstance(error, UserError) or not isinstance(error, Exception):
            raise
        raise cannot_write(final, error) from error  # of any type: each library has its own for a full disk


def remove_folder(folder: Path) -> None:
    """Rename a folder, then remove it: half removed under its own name it would pass for a complete one."""
    if folder.is_symlink() or not folder.is_dir():
        folder.unlink(missing_ok=True)  # a file or link of that name
        return
    condemned = folder.with_name(PARTIAL.format(folder.name + ".old"))
    shutil.rmtree(condemned, ignore_errors=True)
    folder.rename(condemned)
    shutil.rmtree(condemned)


def remove_partial(folder: Path) -> None:
    """Remove from a folder what a killed process was writing or removing."""
    for entry in folder.glob(PARTIAL.format("*")):
        remove_entry(entry)


def remove_entry(entry: Path) -> None:
    """Remove a file, a link or a folder, if there is one."""
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry)
    else:
        entry.unlink(missing_ok=True)


def file_hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file in a folder, by its path in the folder."""
    hashes = {}
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        with file.open("rb") as content:
            hashes[file.relative_to(folder).as_posix()] = hashlib.file_digest(content, "sha256").hexdigest()
    return hashes


def check_space(path: Path, needed: int) -> None:
    """Raise a UserError if fewer than `needed` bytes are free at a path."""
    free = shutil.disk_usage(next(folder for folder in (path, *path.parents) if folder.exists())).free
    if free < needed:
        raise UserError(
            f"{path}: not written, it needs {_megabytes(needed)} and {_megabytes(free)} are free; make room and give "
            "the same command again: what was written before is intact"
        )


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an OSError of the block into a UserError that says what cannot be written, and why."""
    try:
        yield
    except OSError as error:
        raise cannot_write(path, error) from error


def make_folder(path: Path) -> list[Path]:
    """Make a folder and its parents; return the new ones, innermost first."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    with writing(path):  # a parent is a file, or may not be written
        path.mkdir(parents=True, exist_ok=True)
    return missing


def cannot_write(path: Path, error: BaseException) -> UserError:
    folder = next(folder for folder in path.absolute().parents if folder.exists())
    free = shutil.disk_usage(folder).free
    cause = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
    return UserError(
        f"{path}: cannot be written ({cause}; {_megabytes(free)} free); what was written before is intact: "
        "give the same command again once there is room, quota and permission"
    )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB" if size >= 1e6 else f"{size / 1e6:.2g} MB"


def sync_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk."""
    if os.name != "nt":  # Windows cannot open folders
        _sync_entry(folder)


def _sync(folder: Path) -> None:
    """Flush every file of a folder, and their names, to the disk."""
    for path in folder.rglob("*"):
        sync_folder(path) if path.is_dir() else _sync_entry(path)
    sync_folder(folder)


def _sync_entry(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
