"""Where a task's records are read: files of this machine, or a data set on the Hub, by subset and split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from overopt.datafiles import shards
from overopt.errors import UserError
from overopt.hub.data import MAGIC, DataFiles, data_files
from overopt.hub.layout import CARD, Layout, layout_of, read_card
from overopt.hub.names import HubName, parse


@dataclass(frozen=True)
class Source:
    """A location with the subset and the split that are meant, where it holds several."""

    location: str
    subset: str | None = None
    split: str | None = None

    def __str__(self) -> str:
        named = {"subset": self.subset, "split": self.split}
        parts = ", ".join(f"{field} {value}" for field, value in named.items() if value is not None)
        return f"{self.location} ({parts})" if parts else self.location

    @property
    def name(self) -> HubName | None:
        """The data set on the Hub; None for a path."""
        return parse(self.location)

    def files(self) -> list[Path]:
        """Its files on this machine, fetched as far as they are missing; UserError if there are none."""
        fetched = self.fetched()
        if fetched is not None:
            return [*fetched.files]
        path = Path(self.location)
        if not path.is_dir() and self.subset is not None:
            raise UserError(f"{path}: is no folder, so it has no subset; leave subset out")
        if not path.is_dir() or (self.subset is None and self.split is None):
            return shards(path)
        split = self.split if self.row_split is None else None
        return [path / file for file in self._layout().files(str(path), self.subset, split)]

    @property
    def row_split(self) -> str | None:
        """The split, if only the records themselves can say theirs: no name of a file or a folder does."""
        path, name = Path(self.location), self.name
        if name is not None:
            return self.split if any(sign in (name.pattern or "") for sign in MAGIC) else None
        if self.split is None:
            return None
        named = path.is_dir() and self._layout().names_splits(str(path), self.subset)
        return None if named else self.split

    def _layout(self) -> Layout:
        path = Path(self.location)
        files = [str(file.relative_to(path)) for file in sorted(path.rglob("*")) if file.is_file()]
        return layout_of(files, read_card(path / CARD) if CARD in files else None, str(path))

    def fetched(self) -> DataFiles | None:
        """What a name on the Hub means, at its commit; None for a path."""
        return None if self.name is None else data_files(self.name, self.subset, None if self.row_split else self.split)
