from __future__ import annotations

import hashlib
import os
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from overopt.errors import UserError
from overopt.records.atomic import check_space, file_hashes, remove_folder, remove_partial, replace_file, whole_folder


def test_a_file_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "below" / "a.json"
    replace_file(file, b"old")
    replace_file(file, b"new")
    assert file.read_bytes() == b"new"

    def broken(file: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(UserError, match=r"a\.json: cannot be written \(Input/output error; .* free\)"):
        replace_file(file, b"newer")
    assert file.read_bytes() == b"new" and [path.name for path in file.parent.iterdir()] == ["a.json"]


def test_a_folder_appears_whole_and_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def spy(file: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{file}")).name)
        fsync(file)

    monkeypatch.setattr(os, "fsync", spy)
    with whole_folder(tmp_path / "step-1") as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "a").write_text("1")
        assert not (tmp_path / "step-1").exists() and synced == []
    assert (tmp_path / "step-1" / "deep" / "a").read_text() == "1"
    assert set(synced) == {"a", "deep", ".step-1.partial", tmp_path.name}
    assert synced[-1] == tmp_path.name  # the new name last


def test_a_folder_whose_disk_is_full_leaves_the_old_one(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "step-1") as folder:
        (folder / "a").write_text("old")
    for reason in ("No space left on device (os error 28)", "Disk quota exceeded (os error 122)", "File too large"):
        message = rf"step-1: cannot be written \(RuntimeError: I/O error: {re.escape(reason)}.*give the same command"
        with pytest.raises(UserError, match=message), whole_folder(tmp_path / "step-1"):
            raise RuntimeError(f"I/O error: {reason}")
    with pytest.raises(UserError, match=r"^mine: No space left$"), whole_folder(tmp_path / "step-1"):
        raise UserError("mine: No space left")
    assert [path.name for path in tmp_path.iterdir()] == ["step-1"]
    assert (tmp_path / "step-1" / "a").read_text() == "old"


def test_a_folder_that_is_being_removed_has_another_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "step-1").mkdir()
    remove_folder(tmp_path / "step-2")
    rmtree = shutil.rmtree

    def killed(folder: Path, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            raise KeyboardInterrupt
        rmtree(folder, ignore_errors=True)

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        remove_folder(tmp_path / "step-1")
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == [".step-1.old.partial"]
    (tmp_path / ".run.json.partial").write_text("{")
    (tmp_path / ".mine").write_text("kept")
    remove_partial(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".mine"]


def test_hashes_are_of_every_file_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c").write_bytes(b"3")
    (tmp_path / "a").write_bytes(b"")
    assert file_hashes(tmp_path) == {"a": hashlib.sha256(b"").hexdigest(), "b/c": hashlib.sha256(b"3").hexdigest()}


def test_space_is_measured_where_the_file_will_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=3_000_000))
    check_space(tmp_path / "new" / "run", 3_000_000)
    with pytest.raises(UserError, match=r"run: not written, it needs 2,000 MB and 3 MB are free; make room"):
        check_space(tmp_path / "new" / "run", 2_000_000_000)
