"""Sequences whose items lie on disk, so that a data set need not fit into memory.

Items are written once, in order, into a file without a name, which is gone with the process, and read again one by one.
What is small stays in memory, as bytes.
"""

from __future__ import annotations

import errno
import marshal
import os
import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import IO, Any, Generic, TypeVar, cast, overload

from overopt.errors import UserError

T = TypeVar("T")
S = TypeVar("S")

HELD = 16 * 2**20
"""Bytes of a sequence that are kept in memory before it goes to disk."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def folder() -> str:
    """Where the files lie: TMPDIR if it is set, else /var/tmp, since /tmp may itself be memory."""
    if os.environ.get("TMPDIR") or not os.access("/var/tmp", os.W_OK):
        return tempfile.gettempdir()
    return "/var/tmp"


class _Store:
    """Plain values (None, numbers, text, bytes, and tuples, lists and dicts of these) in the order of writing.

    Other values, such as a date in a column, stay in memory. `marshal` keeps types as they are; it reads here only what
    this process has written.
    """

    def __init__(self) -> None:
        self._held = bytearray()
        self._file: IO[bytes] | None = None
        self._ends = array("q", [0])
        self._others: dict[int, Any] = {}

    def __len__(self) -> int:
        return len(self._ends) - 1

    def append(self, value: Any) -> None:
        try:
            data = marshal.dumps(value)
        except ValueError:
            data, self._others[len(self)] = b"", value
        self._held += data
        self._ends.append(self._ends[-1] + len(data))
        if len(self._held) > HELD:
            self._write()

    def __getitem__(self, place: int) -> Any:
        if place in self._others:
            return self._others[place]
        start, end = self._ends[place], self._ends[place + 1]
        written = self._ends[-1] - len(self._held)
        if end > written:  # an item is never parted
            return marshal.loads(memoryview(self._held)[start - written : end - written])
        assert self._file is not None
        return marshal.loads(os.pread(self._file.fileno(), end - start, start))

    def _write(self) -> None:
        try:
            if self._file is None:
                made = tempfile.TemporaryFile(dir=folder(), prefix="overopt-", buffering=0)  # noqa: SIM115 (it stays open)
                self._file = cast("IO[bytes]", made)
            view = memoryview(self._held)
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            why = "is full" if error.errno in _FULL else f"cannot be written ({error.strerror})"
            raise UserError(
                f"{folder()}: {why}, and a data set larger than memory is kept there while it is used; make room, or "
                "set TMPDIR to a folder on a larger disk"
            ) from None
        self._held = bytearray()


class Spooled(Sequence[T], Generic[T]):
    """Items that are read each time they are asked for; some of them (`where`), or others made of them (`map`)."""

    def __init__(self, store: _Store, places: Sequence[int], thaw: Callable[[Any], T]) -> None:
        self._store, self._places, self._thaw = store, places, thaw

    @classmethod
    def of(
        cls, items: Iterable[T], freeze: Callable[[T], Any] = lambda item: item, thaw: Callable[[Any], T] = lambda x: x
    ) -> Spooled[T]:
        """Write all items. `freeze` makes plain values of them, and `thaw` items of these."""
        store = _Store()
        for item in items:
            store.append(freeze(item))
        return cls(store, range(len(store)), thaw)

    def where(self, wanted: Callable[[T], bool]) -> Spooled[T]:
        """The items that are wanted, in their order."""
        return self.at(place for place, item in enumerate(self) if wanted(item))

    def at(self, indices: Iterable[int]) -> Spooled[T]:
        """The items at these indices."""
        return Spooled(self._store, array("q", (self._places[i] for i in indices)), self._thaw)

    def map(self, make: Callable[[T], S]) -> Spooled[S]:
        """What `make` makes of each item, each time that it is asked for."""
        thaw = self._thaw
        return Spooled(self._store, self._places, lambda value: make(thaw(value)))

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Spooled[T]: ...
    def __getitem__(self, index: int | slice) -> T | Spooled[T]:
        if isinstance(index, slice):
            return Spooled(self._store, self._places[index], self._thaw)
        return self._thaw(self._store[self._places[index]])

    def __iter__(self) -> Iterator[T]:
        return (self._thaw(self._store[place]) for place in self._places)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self[:3])}, {len(self)} items)"


def where(items: Sequence[T], wanted: Callable[[T], bool]) -> Sequence[T]:
    """The items that are wanted: read again each time if they lie on disk, else a list."""
    return items.where(wanted) if isinstance(items, Spooled) else [item for item in items if wanted(item)]


def at(items: Sequence[T], indices: Iterable[int]) -> Sequence[T]:
    """The items at these indices: read again each time if they lie on disk, else a list."""
    return items.at(indices) if isinstance(items, Spooled) else [items[i] for i in indices]


def in_chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """The items in lists of at most `size`, so that no more of them are held at a time."""
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk
