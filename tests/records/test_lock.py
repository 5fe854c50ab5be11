from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from overopt.errors import UserError
from overopt.records.lock import RunLock


def test_one_at_a_time(tmp_path: Path) -> None:
    with RunLock(tmp_path) as first:
        first.acquire()
        first.acquire()  # it has it already
        with RunLock(tmp_path) as second, pytest.raises(UserError, match="another process is at work here"):
            second.acquire()
        assert (tmp_path / ".lock").exists()
    assert list(tmp_path.iterdir()) == []
    with RunLock(tmp_path) as third:
        third.acquire()


def test_folders_made_for_nothing_are_removed(tmp_path: Path) -> None:
    with RunLock(tmp_path / "a" / "b") as lock:
        assert not (tmp_path / "a").exists()
        lock.acquire()
    assert list(tmp_path.iterdir()) == []
    with RunLock(tmp_path / "a" / "b") as lock:
        lock.acquire()
        (tmp_path / "a" / "mine").write_text("kept")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["mine"]


def test_a_lock_whose_owner_removed_it_meanwhile_is_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between opening the file and locking it, its last owner may unlink it: then others lock another file."""
    opened: list[int] = []
    open_file = os.open

    def spy(path: Path, flags: int, mode: int = 0o777) -> int:
        opened.append(open_file(path, flags, mode))
        if len(opened) == 1:
            os.unlink(path)
        return opened[-1]

    monkeypatch.setattr(os, "open", spy)
    with RunLock(tmp_path) as lock:
        lock.acquire()
        assert len(opened) == 2
        monkeypatch.undo()
        with RunLock(tmp_path) as other, pytest.raises(UserError, match="another process"):
            other.acquire()


def test_it_dies_with_its_owner(tmp_path: Path) -> None:
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom overopt.records.lock import RunLock\n"
        "RunLock(Path(sys.argv[1])).acquire()\nprint('held', flush=True)\ntime.sleep(60)\n"
    )
    owner = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None and owner.stdout.readline() == "held\n"
    with RunLock(tmp_path) as lock:
        with pytest.raises(UserError, match="another process"):
            lock.acquire()
        owner.send_signal(signal.SIGKILL)
        owner.wait()
        lock.acquire()


def test_a_place_where_nothing_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with RunLock(tmp_path / "file" / "run") as lock, pytest.raises(UserError, match="run: cannot be written"):
        lock.acquire()
