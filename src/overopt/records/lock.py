"""The lock of a run or study directory: one process at a time. It ends with the process that holds it.

Not the package `filelock`, which leaves its file behind and falls back to one that outlives a killed process.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Self

from overopt.errors import BusyError
from overopt.records import layout
from overopt.records.atomic import make_folder, writing


class RunLock:
    """Held from `acquire` to the end of the `with` block; the system releases it when its process dies in any way.

    The lock file is removed on release, and so are directories that were made for it and are still empty.
    """

    def __init__(self, run: Path) -> None:
        self.run = run
        self.path = run / layout.LOCK
        self._file: int | None = None
        self._made: list[Path] = []

    def acquire(self) -> None:
        """Take the lock; BusyError if another process holds it. Does nothing if this object holds it already."""
        if self._file is not None:
            return
        self._made = make_folder(self.run)
        with writing(self.path):
            while self._file is None:
                self._file = self._locked()

    def _locked(self) -> int | None:
        """Open and lock the lock file; None if its last owner removed it in the meantime."""
        file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        if not _lock(file):
            os.close(file)
            raise BusyError(
                f"{self.run}: another process is at work here; wait until it ends, or choose another directory"
            )
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file), self.path.stat()):
                return file
        os.close(file)
        return None

    def release(self) -> None:
        if self._file is None:
            return
        with suppress(OSError):  # removed while still held, so that nobody else can have locked it
            self.path.unlink()
        os.close(self._file)
        self._file = None
        with suppress(OSError):  # not empty any more
            for folder in self._made:
                folder.rmdir()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()


def _lock(file: int) -> bool:
    """Try to lock an open file; whether that succeeded."""
    if sys.platform == "win32":
        import msvcrt

        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
