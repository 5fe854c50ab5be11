"""What files hold, by SHA-256: a model folder, file by file, so that what has changed since can be named."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path

from overopt.errors import UserError

READ = frozenset(
    {".safetensors", ".bin", ".gguf", ".json", ".jinja", ".txt", ".model", ".tiktoken", ".bpe", ".vocab", ".spm", ".py"}
)
"""Endings of the files of a model folder that decide what a model computes: weights of any format, configurations, all
that tokenizers are made of, chat templates."""

TRAINERS = frozenset({"training_args.bin", "optimizer.bin", "scheduler.bin", "trainer_state.json", "all_results.json"})
"""Files that other trainers leave in a model folder; nothing is computed from them."""

LARGE = 1 << 20
"""Bytes from which a file is not read again in a process while its size and times stay."""

Hashes = dict[str, str]


def hash_file(path: Path) -> str:
    """SHA-256 of a file; UserError where it cannot be read."""
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
    """SHA-256 of every file of a model folder that may change what is computed, by its path in it.

    Files for people, and other folders but those of chat templates, are left out. Of a folder that was made from a GGUF
    file beside it, that file counts too.
    """
    files = [path for path in folder.glob("[!.]*") if path.suffix in READ and path.name not in TRAINERS]
    files += folder.glob("*/*.jinja")
    found = {file.relative_to(folder).as_posix(): hash_file(file) for file in sorted(files) if file.is_file()}
    gguf = folder.with_name(f"{folder.name}.gguf")
    return found | ({f"../{gguf.name}": hash_file(gguf)} if gguf.is_file() else {})


def hash_weights(folder: Path) -> str:
    """One SHA-256 of a folder's weights and config.json, which may scale what they compute.

    All that runs recorded of a parent before they recorded its files; it stays as it was, so that they can go on.
    """
    digest = hashlib.sha256()
    for file in sorted([*folder.glob("*.safetensors"), *folder.glob("config.json")]):
        digest.update(file.name.encode() + bytes.fromhex(hash_file(file)))
    return digest.hexdigest()


def changed(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """The names at which two sets of files differ, in order; also those of only one of them.

    A file beside the folder may have been removed, since the folder was made from it.
    """
    gone = {name for name in before if name.startswith("../") and name not in now}
    return [name for name in sorted({**before, **now}.keys() - gone) if before.get(name) != now.get(name)]
