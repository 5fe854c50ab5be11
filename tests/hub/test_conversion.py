"""Data sets that `datasets` loads, which is not installed here: another takes its place."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from overopt.errors import UserError
from overopt.hub import conversion
from overopt.hub.conversion import convert
from overopt.hub.names import HubName

NAME = HubName("dataset", "O/arrow", "a" * 40)


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What `load_dataset` was asked for; it returns something that can be written."""
    asked: list[Any] = []

    def load_dataset(*names: Any, **options: Any) -> Any:
        asked.append((names, options))
        if options["split"] == "none":
            raise ValueError("Unknown split\nand a stack")
        return SimpleNamespace(to_parquet=lambda path: path.write_bytes(b"PAR1"))

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    monkeypatch.setattr(conversion, "cache", lambda: tmp_path / "cache")
    return asked


def test_a_split_is_written_once_at_its_commit(calls: list[Any]) -> None:
    file = convert(NAME, "sub", "test")
    assert file.read_bytes() == b"PAR1" and "a" * 40 in str(file)
    assert convert(NAME, "sub", "test") == file
    assert calls == [(("O/arrow", "sub"), {"split": "test", "revision": "a" * 40})]
    assert [path.name for path in file.parent.iterdir()] == ["sub-test.parquet"]  # no draft is left
    assert convert(NAME, None, None).name == "default-train.parquet"


def test_what_cannot_be_loaded_or_written_is_said(calls: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"`datasets` cannot load it \(ValueError: Unknown split\)"):
        convert(NAME, None, "none")
    monkeypatch.setattr(conversion, "cache", lambda: Path("/dev/null"))
    with pytest.raises(UserError, match=r"default-train.parquet: cannot be written \("):
        convert(NAME, None, None)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r"no data files of a kind that is read.*pip install 'overopt\[hub\]'"):
        convert(NAME, None, None)
