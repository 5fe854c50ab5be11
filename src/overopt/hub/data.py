"""The files of a data set on the Hub: found by subset and split, then fetched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from overopt.errors import UserError
from overopt.hub import download
from overopt.hub.conversion import convert
from overopt.hub.download import Listing
from overopt.hub.errors import cache, endpoint
from overopt.hub.layout import CARD, Layout, layout_of, matching, read_card
from overopt.hub.names import HubName

CONVERTED = "refs/convert/parquet"
"""The branch on which the Hub keeps a copy of a data set as Parquet."""
MAGIC = "*?["


@dataclass(frozen=True)
class DataFiles:
    """Files in the cache, in the order of their records, and the name at the commit that they are of."""

    name: HubName
    files: Sequence[Path]


def data_files(name: HubName, subset: str | None = None, split: str | None = None) -> DataFiles:
    """The files of a split, fetched as far as they are missing. What a name means stays the same in one process.

    A name's pattern is a pattern, a file or a folder. Without a split `train` is meant, or the only one. Where nothing
    in the repository can be read, the Hub's own conversion to Parquet is, or what `datasets` makes of it. UserError
    says which subsets and splits there are.
    """
    return _data_files(name, subset, split, endpoint(), str(cache()))


@lru_cache(maxsize=64)
def _data_files(name: HubName, subset: str | None, split: str | None, *where: str) -> DataFiles:
    listing = download.listing(name)
    if name.pattern and (named := _named(name, [*listing.files])):
        if subset or split:
            raise UserError(f"{name}: names its files already; leave out {'subset' if subset else 'split'}")
        return _fetched(listing, named)
    layout = _layout(listing)
    if not _knows(layout, subset):
        if name.pattern is None and _is_main(name) and (made := _converted(name, subset, split)):
            return made
        if not any(layout.subsets.values()):
            return DataFiles(listing.name, [convert(listing.name, subset, split)])
    return _fetched(listing, layout.files(str(name), subset, split))


def _fetched(listing: Listing, paths: Sequence[str]) -> DataFiles:
    folder = download.fetch(listing, paths)
    return DataFiles(listing.name, [folder / path for path in paths])


def _named(name: HubName, paths: Sequence[str]) -> list[str]:
    """The files that a name's pattern names; none if it is a folder."""
    pattern = name.pattern or ""
    if pattern in paths:
        return [pattern]
    folder = pattern.rstrip("/") + "/"
    if not any(sign in pattern for sign in MAGIC) and any(path.startswith(folder) for path in paths):
        return []
    if found := matching(paths, pattern):
        return found
    there = ", ".join(sorted(paths)[:8]) + (f" and {len(paths) - 8} more" if len(paths) > 8 else "")
    raise UserError(f"{name}: no file matches {pattern}; it holds {there or 'no files'}")


def _layout(listing: Listing) -> Layout:
    """The layout of a repository, or of the folder in it that the name's pattern is."""
    name, card = listing.name, None
    if name.pattern:
        folder = name.pattern.rstrip("/") + "/"
        return layout_of([path for path in listing.files if path.startswith(folder)], None, str(name))
    if CARD in listing.files:
        card = read_card(_fetched(listing, [CARD]).files[0])
    return layout_of(listing.files, card, str(name))


def _knows(layout: Layout, subset: str | None) -> bool:
    return bool(layout.subsets.get(subset)) if subset is not None else any(layout.subsets.values())


def _is_main(name: HubName) -> bool:
    """Whether a name means the branch `main`, of which the conversion is; also by its commit, as a run pins it."""
    return name.revision in (None, "main") or name.commit == download.commit_of(name.at("main"))


def _converted(name: HubName, subset: str | None, split: str | None) -> DataFiles | None:
    """The files of a split in the Hub's conversion; None if there is no conversion, or none of the subset."""
    try:
        listing = download.listing(name.at(CONVERTED))
    except UserError:
        return None
    layout = layout_of(listing.files, None, str(name))
    return _fetched(listing, layout.files(str(name), subset, split)) if _knows(layout, subset) else None
