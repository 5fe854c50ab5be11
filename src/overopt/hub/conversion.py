"""Data sets that take a loader: read by `datasets`, the extra `hub`, and kept as Parquet.

Code of a repository is never run: `datasets` since 4.0 knows no scripts.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from overopt.datafiles import shortened
from overopt.errors import UserError
from overopt.hub.errors import cache
from overopt.hub.names import HubName


def convert(pinned: HubName, subset: str | None, split: str | None) -> Path:
    """The Parquet file of a split of a data set at a commit, made if it is not in the cache yet."""
    folder = cache() / "overopt" / f"datasets--{pinned.repo.replace('/', '--')}" / str(pinned.revision)
    target = folder / f"{subset or 'default'}-{split or 'train'}.parquet".replace("/", "_")
    if target.is_file():
        return target
    rows = _load(pinned, subset, split or "train")
    draft = target.with_name(f".{os.getpid()}-{target.name}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        rows.to_parquet(draft)
        draft.replace(target)
    except Exception as error:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise UserError(f"{target}: cannot be written ({shortened(error)})") from None
    return target


def _load(pinned: HubName, subset: str | None, split: str) -> Any:
    try:
        from datasets import load_dataset
    except ImportError:
        raise UserError(
            f"{pinned}: holds no data files of a kind that is read (JSONL, JSON, Parquet, CSV), and the Hub has no "
            "conversion of it to Parquet; `pip install 'overopt[hub]'` adds the loaders of `datasets`, or name its "
            "files by a pattern"
        ) from None
    try:
        return load_dataset(pinned.repo, subset, split=split, revision=pinned.revision)
    except Exception as error:  # a loader may raise anything
        raise UserError(f"{pinned}: `datasets` cannot load it ({type(error).__name__}: {shortened(error)})") from None
