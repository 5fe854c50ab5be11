"""Sequences on disk: the same items as a list, whatever lies in memory and whatever on disk."""

from __future__ import annotations

import datetime
import os
from pathlib import Path

import pytest

from overopt import spooled
from overopt.errors import UserError
from overopt.spooled import Spooled, in_chunks

ITEMS = [("a\ud800", i, [None, {"b": (1.5, b"x" * i)}]) for i in range(100)]


@pytest.fixture(params=[0, 500, 10**6])
def held(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """All on disk, a part of it, nothing."""
    monkeypatch.setattr(spooled, "HELD", request.param)
    return int(request.param)


def test_items_come_back_as_they_were_types_included(held: int) -> None:
    items = Spooled.of(iter(ITEMS))
    assert items == ITEMS and len(items) == 100
    assert items[7] == ITEMS[7] and items[-1] == ITEMS[-1] and isinstance(items[3][2][1]["b"], tuple)
    assert items[2:5] == ITEMS[2:5] and list(reversed(items)) == ITEMS[::-1]
    assert items != ITEMS[:-1] and items != "a"
    with pytest.raises(IndexError):
        items[100]


def test_what_is_no_plain_value_stays_in_memory(held: int) -> None:
    day = datetime.date(2024, 1, 2)
    items = Spooled.of([("a",), ("b", {"day": day}), ("c",)])
    assert items == [("a",), ("b", {"day": day}), ("c",)]


def test_some_of_them_and_others_made_of_them(held: int) -> None:
    numbers = Spooled.of(range(20))
    even = numbers.where(lambda n: n % 2 == 0)
    assert even == list(range(0, 20, 2))
    assert even.map(lambda n: n * n).where(lambda n: n > 100)[1:] == [196, 256, 324]
    assert even.at([3, 0])[:] == [6, 0]
    frozen = Spooled.of([{1, 2}, set()], freeze=sorted, thaw=set)
    assert frozen == [{1, 2}, set()]


def test_the_file_has_no_name_and_memory_holds_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr(spooled, "HELD", 1000)
    items = Spooled.of(b"x" * 100 for _ in range(1000))
    assert len(items._store._held) < 1200 and os.fstat(items._store._file.fileno()).st_size > 99_000  # type: ignore[union-attr]
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/dev/shm/none")
    monkeypatch.setattr("tempfile.tempdir", "/dev/shm/none")
    monkeypatch.setattr(spooled, "HELD", 10)
    with pytest.raises(UserError, match=r"cannot be written \(No such file.*set TMPDIR to a folder on a larger disk"):
        Spooled.of([b"x" * 100])


def test_chunks() -> None:
    assert list(in_chunks(range(5), 2)) == [[0, 1], [2, 3], [4]]
