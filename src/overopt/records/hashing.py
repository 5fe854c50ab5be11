"""SHA-256 of files: of a model folder file by file, so that a changed file can be named."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path

from overopt.errors import UserError

READ = frozenset(
    {".safetensors", ".bin", ".gguf", ".json", ".jinja", ".txt", ".model", ".tiktoken", ".bpe", ".vocab", ".spm", ".py"}
)
"""Suffixes of the files of a model folder that decide what a model computes: weights of any format, configurations,
tokenizers, chat templates."""

TRAINERS = frozenset({"training_args.bin", "optimizer.bin", "scheduler.bin", "trainer_state.json", "all_results.json"})
"""Files that other trainers leave in a model folder and that change nothing."""

LARGE = 1 << 20
"""Size in bytes from which a hash is cached while inode, size and times of the file stay the same."""

Hashes = dict[str, str]


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file; UserError if it cannot be read."""
    try:
        status = path.stat()
        if status.st_size < LARGE:
            return hashlib.sha256(path.read_bytes()).hexdigest()
        return _hash_large(path.resolve(), status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error


@functools.lru_cache(maxsize=1024)
def _hash_large(path: Path, *stamp: int) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def model_files(folder: Path) -> Hashes:
    """Return the SHA-256 of every file of a model folder that may change what is computed, by its path in the folder.

    Documentation and subfolders other than chat templates are left out. A GGUF file that the folder was unpacked from
    is included.
    """
    files = [path for path in folder.glob("[!.]*") if path.suffix in READ and path.name not in TRAINERS]
    files += folder.glob("*/*.jinja")
    found = {file.relative_to(folder).as_posix(): hash_file(file) for file in sorted(files) if file.is_file()}
    gguf = folder.with_name(f"{folder.name}.gguf")
    return found | ({f"../{gguf.name}": hash_file(gguf)} if gguf.is_file() else {})


def hash_weights(folder: Path) -> str:
    """Return one SHA-256 of a folder's weights and config.json, which may scale what they compute.

    Older runs recorded only this hash of a parent; it must not change, so that they can be resumed.
    """
    digest = hashlib.sha256()
    for file in sorted([*folder.glob("*.safetensors"), *folder.glob("config.json")]):
        digest.update(file.name.encode() + bytes.fromhex(hash_file(file)))
    return digest.hexdigest()


def changed(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return the sorted names of files that differ, or that only one of two sets holds.

    A GGUF file beside the folder may have been removed, since the folder was unpacked from it.
    """
    gone = {name for name in before if name.startswith("../") and name not in now}
    return [name for name in sorted({**before, **now}.keys() - gone) if before.get(name) != now.get(name)]
