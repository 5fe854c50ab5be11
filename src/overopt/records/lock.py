"""The lock of a run directory, or of a study's: one process at a time, and it dies with its owner."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from overopt.errors import UserError
from overopt.records import layout
from overopt.records.atomic import cannot_write


class RunLock:
    """Held from `acquire` to the end of the `with` block; the system drops it when its process dies, however it dies.

    Directories that were made only to be locked, and in which nothing was put, are removed again.
    """

    def __init__(self, run: Path) -> None:
        self.run = run
        self.path = run / layout.LOCK
        self._file: int | None = None
        self._made: list[Path] = []

    def acquire(self) -> None:
        """Take it, or refuse if another process has it; nothing happens if it is held already."""
        if self._file is not None:
            return
        self._made = [folder for folder in (self.run, *self.run.parents) if not folder.exists()]
        try:
            self.run.mkdir(parents=True, exist_ok=True)
            while self._file is None:
                self._file = self._locked()
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def _locked(self) -> int | None:
        """The lock file, locked; None if its last owner has removed it meanwhile."""
        file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        if not _lock(file):
            os.close(file)
            raise UserError(
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
        with suppress(OSError):  # removed while it is still held, so that nobody can have locked it
            self.path.unlink()
        os.close(self._file)
        self._file = None
        with suppress(OSError):  # they hold something by now
            for folder in self._made:
                folder.rmdir()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _lock(file: int) -> bool:
    """Whether nobody else had it."""
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
