"""Which files of a data repository, or of a folder of the same layout, are which subset and split.

They are found as `datasets` finds them: from the `configs` in the card's header, else by the names of the files and
their folders. The Hub's own conversions to Parquet (`refs/convert/parquet`) lie in SUBSET/SPLIT/0000.parquet.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from overopt.datafiles import extension
from overopt.errors import UserError
from overopt.hub.names import is_inside

CARD = "README.md"
DEFAULT = "default"
"""The name of a subset that has none."""
TRAIN = "train"
KEYWORDS = {
    TRAIN: ("train", "training"),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test", "testing", "eval", "evaluation"),
}
"""Words in the names of files and folders that say which split they are."""
IGNORED = (CARD, "config.json", "dataset_info.json", "dataset_infos.json", "dataset_dict.json", "dummy_data.zip")
LONGEST_CARD = 2**20
"""Bytes of a card; no published one is longer."""

_SHARDED = re.compile(r"data/(?P<split>[^/]+)-\d{5}-of-\d{5}[^/]*\.[^/]*")
_CONVERTED = re.compile(r"(?P<subset>[^/]+)/(?:partial-)?(?P<split>[^/]+)/\d{4,}\.parquet")
_KINDS = {".jsonl": ".json", ".ndjson": ".json"}
"""Extensions that are read as another's kind."""
_PREFERENCE = (".parquet", ".json", ".csv", ".tsv")
"""Of kinds with equally many files the first counts."""

Splits = Mapping[str, Sequence[str]]
"""The files of each split, by their paths in the repository."""


@dataclass(frozen=True)
class Layout:
    """The files of a repository by subset and split."""

    subsets: Mapping[str, Splits]
    default: str | None
    """The subset that is meant where none is named; None: one must be named."""

    def files(self, place: str, subset: str | None, split: str | None) -> list[str]:
        """The files of a split; UserError, which says what there is, if there is no such split or subset."""
        splits = self.subsets[self._subset(place, subset)]
        if not splits:
            raise UserError(f"{place}: no data files of a kind that is read ({', '.join(_PREFERENCE)})")
        if split is None and len(splits) > 1 and TRAIN not in splits:
            raise UserError(f"{place}: has the splits {', '.join(splits)}, none of which is {TRAIN!r}; name one: split")
        name = split or (TRAIN if TRAIN in splits else next(iter(splits)))
        if name not in splits:
            of = f"its subset {subset!r} has" if subset is not None else "has"
            raise UserError(f"{place}: no split {name!r}; {of} {', '.join(splits)}")
        return [*splits[name]]

    def names_splits(self, place: str, subset: str | None) -> bool:
        """Whether a card, or a name of a file or of a folder, says which splits there are."""
        splits = self.subsets[self._subset(place, subset)]
        return splits.keys() != {TRAIN} or says_splits(file for paths in splits.values() for file in paths)

    def _subset(self, place: str, name: str | None) -> str:
        if name is None and self.default is None:
            raise UserError(f"{place}: has the subsets {', '.join(self.subsets)}; name one: subset")
        chosen = self.default if name is None else name
        if chosen is None or chosen not in self.subsets:
            has = f"has {', '.join(self.subsets)}" if self.subsets.keys() != {DEFAULT} else "has no subsets"
            raise UserError(f"{place}: no subset {name!r}; it {has}")
        return chosen


def layout_of(paths: Iterable[str], card: str | None, place: str) -> Layout:
    """The layout of a repository with these files and this card.

    Folders that hold data files are subsets, too, as far as the card names none.
    """
    files = sorted(path for path in paths if is_inside(path))
    configs = _configs(card, place)
    if configs:
        named = {name: _splits(files, config, place) for name, config in configs.items()}
        defaults = [name for name, config in configs.items() if config.get("default") is True or name == DEFAULT]
        return Layout(named, defaults[0] if defaults else _default(named))
    if converted := _converted(files):
        return Layout(converted, _default(converted))
    whole = _of_one_kind(_by_name(files))
    folders = dict.fromkeys(str(folder) for file in files for folder in PurePosixPath(file).parents if folder.name)
    below = {folder: _of_one_kind(_by_name(_inside(files, folder))) for folder in folders}
    return Layout({DEFAULT: whole, **{name: splits for name, splits in below.items() if splits}}, DEFAULT)


def _default(subsets: Mapping[str, Splits]) -> str | None:
    """The subset of the name `default`, or the only one."""
    return DEFAULT if DEFAULT in subsets else next(iter(subsets)) if len(subsets) == 1 else None


def read_card(file: Path) -> str:
    """The text of a card."""
    with file.open("rb") as content:
        return content.read(LONGEST_CARD).decode("utf-8", "replace")


def matching(paths: Iterable[str], pattern: str) -> list[str]:
    """The paths that match a pattern of the Hub's file system; hidden ones only where the pattern names them."""
    from fsspec.utils import glob_translate

    try:
        expression = re.compile(glob_translate(pattern.removeprefix("./").removeprefix("/")))
    except ValueError as error:
        raise UserError(f"{pattern!r}: {error}") from None
    return sorted(path for path in paths if expression.match(path) and _asked_for(path, pattern))


def _asked_for(path: str, pattern: str) -> bool:
    """Whether hidden parts of a path, or parts such as `__pycache__`, are those of the pattern."""
    if PurePosixPath(path).name in IGNORED and PurePosixPath(pattern).name != PurePosixPath(path).name:
        return False
    return all(_unusual(PurePosixPath(path), start) == _unusual(PurePosixPath(pattern), start) for start in (".", "__"))


def _unusual(path: PurePosixPath, start: str) -> int:
    return sum(part.startswith(start) for part in path.parts)


# --- By the card


def _configs(card: str | None, place: str) -> dict[str, Mapping[str, Any]]:
    """The subsets that a card's header lists, by name."""
    header = re.match(r"\ufeff?---\s*\n(.*?)\n---\s*(?:\n|\Z)", card or "", re.DOTALL)
    if header is None or "configs" not in header[1]:
        return {}
    import yaml

    try:
        listed = (yaml.load(header[1], Loader=_loader()) or {}).get("configs") or []
        return {str(config["config_name"]): config for config in listed}
    except Exception as error:  # whatever a stranger's YAML makes of it
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{place}: the header of its {CARD} cannot be read ({reason}); name its files by a pattern"
        ) from None


def _loader() -> Any:
    """A YAML loader that refuses references, by which a short text can stand for an endless one."""
    import yaml

    class NoAliases(yaml.SafeLoader):
        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.events.AliasEvent):
                raise ValueError("it holds references (*name)")
            return super().compose_node(parent, index)

    return NoAliases


def _splits(files: Sequence[str], config: Mapping[str, Any], place: str) -> Splits:
    """The files of a subset's splits: by its patterns or, without any, by the names in its folder."""
    folder = str(config.get("data_dir") or "").strip("/")
    inside = _inside(files, folder) if folder else [*files]
    listed = config.get("data_files")
    if listed is None:
        return _of_one_kind(_by_name(inside))
    entries = listed if isinstance(listed, list) else [listed]
    patterns: dict[str, list[str]] = {}
    for entry in entries:
        split, named = (entry.get("split"), entry.get("path")) if isinstance(entry, Mapping) else (TRAIN, entry)
        texts = named if isinstance(named, list) else [named]
        if not isinstance(split, str) or not all(isinstance(text, str) for text in texts):
            raise UserError(
                f"{place}: the data_files in the header of its {CARD} cannot be read; name files by a pattern"
            )
        patterns.setdefault(split, []).extend(f"{folder}/{text}" if folder else str(text) for text in texts)
    found = {split: [f for text in texts for f in matching(inside, text)] for split, texts in patterns.items()}
    return _of_one_kind({split: [*dict.fromkeys(paths)] for split, paths in found.items() if paths})


# --- By names


def _converted(files: Sequence[str]) -> dict[str, dict[str, list[str]]]:
    """The subsets of a conversion to Parquet; empty if this is none."""
    found: dict[str, dict[str, list[str]]] = {}
    for file in files:
        match = _CONVERTED.fullmatch(file)
        if match is not None:
            found.setdefault(match["subset"], {}).setdefault(match["split"], []).append(file)
        elif extension(Path(file)):
            return {}
    return found


def _by_name(files: Sequence[str]) -> dict[str, list[str]]:
    """The files of each split: by `data/SPLIT-00000-of-00001`, else by a folder's name, a file's, else all `train`."""
    sharded: dict[str, list[str]] = {}
    for file in files:
        if (match := _SHARDED.fullmatch(file)) is not None:
            sharded.setdefault(match["split"], []).append(file)
    if sharded:
        return {split: sharded[split] for split in sorted(sharded, key=lambda name: (*_order(name), name))}
    visible = [file for file in files if _asked_for(file, "**")]
    for parts in (_folders, _name):
        found = {split: [f for f in visible if any(_says(part, split) for part in parts(f))] for split in KEYWORDS}
        if any(found.values()):
            return {split: paths for split, paths in found.items() if paths}
    return {TRAIN: visible} if visible else {}


def says_splits(files: Iterable[str]) -> bool:
    """Whether the name of a file or of its folders says which split it is."""
    return any(_says(part, split) for file in files for part in PurePosixPath(file).parts for split in KEYWORDS)


def _order(split: str) -> tuple[int]:
    names = [*KEYWORDS]
    return (names.index(split) if split in names else len(names),)


def _folders(file: str) -> Sequence[str]:
    return PurePosixPath(file).parts[:-1]


def _name(file: str) -> Sequence[str]:
    return PurePosixPath(file).parts[-1:]


def _says(part: str, split: str) -> bool:
    """Whether a name holds a word for the split, between other characters than letters."""
    word = "|".join(KEYWORDS[split])
    return re.search(rf"(?:^|[-._ 0-9])(?:{word})(?:[-._ 0-9]|$)", part) is not None


def _inside(files: Sequence[str], folder: str) -> list[str]:
    return [file for file in files if file.startswith(f"{folder}/")]


def _of_one_kind(splits: Mapping[str, Sequence[str]]) -> Splits:
    """The files of the kind of which there are most; splits that have none of it are left out."""
    kinds = Counter(kind for paths in splits.values() for path in paths if (kind := _kind(path)))
    if not kinds:
        return {}
    most = max(kinds, key=lambda kind: (kinds[kind], -_PREFERENCE.index(kind)))
    kept = {split: [path for path in paths if _kind(path) == most] for split, paths in splits.items()}
    return {split: paths for split, paths in kept.items() if paths}


def _kind(path: str) -> str | None:
    found = extension(Path(path))
    return None if found is None else _KINDS.get(found, found)
