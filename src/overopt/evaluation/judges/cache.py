"""The cache of replies: an SQLite file that several threads and processes use at once, so nothing is asked twice."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import sqlite3
import sys
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from overopt.errors import UserError
from overopt.evaluation.judges.base import Answer, Question

APPLICATION = 0x4F76_4A43
"""Written into the file's header ("OvJC"), so that no other program's database is taken for a cache."""
VERSION = 1
BUSY_SECONDS = 60
NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "lustre", "gpfs", "beegfs", "fuse.sshfs"}
"""File systems on which the memory that WAL's users share may lie on different machines."""
_TABLES = (
    """CREATE TABLE replies (
    key TEXT PRIMARY KEY, judge TEXT NOT NULL, text TEXT NOT NULL, date TEXT NOT NULL,
    input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL) WITHOUT ROWID""",
    "CREATE TABLE claims (key TEXT PRIMARY KEY, owner TEXT NOT NULL, until REAL NOT NULL) WITHOUT ROWID",
)


def default_cache() -> Path:
    """Return the file of the user's replies, shared by all runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "overopt" / "judgements.sqlite"


def key_of(judge: Mapping[str, Any], question: Question) -> str:
    """Return the key of a reply: SHA-256 over who is asked (model, endpoint, sampling) and the whole question."""
    content = json.dumps([judge, asdict(question)], sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(content.encode()).hexdigest()


class Cache:
    """Replies by key. An answer is on the disk when `keep` returns, whatever then happens to the process.

    A question is claimed while it is asked, so that two processes do not ask it at the same time. The claim of a
    process that died is void. UserError: the file is damaged, not a cache, or cannot be written; it is left as it is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._lock = threading.Lock()  # of the connection, which all threads of this process share
        with self._using():
            self._database = self._opened()

    def find(self, keys: Iterable[str]) -> dict[str, Answer]:
        """Return the known answers among `keys`."""
        found = {}
        with self._using():
            for key in keys:
                if (answer := self._answer(key)) is not None:
                    found[key] = answer
        return found

    def claim(self, key: str, seconds: float) -> Answer | bool:
        """Return the answer if it is known by now; else whether this object may ask, for `seconds` from now on."""
        with self._using(), self._writing():
            if (answer := self._answer(key)) is not None:
                return answer
            now, values = time.time(), (key,)
            row = self._database.execute("SELECT owner, until FROM claims WHERE key = ?", values).fetchone()
            if row is not None and row[0] != self._owner and now < row[1] and _alive(row[0]):
                return False
            self._database.execute("INSERT OR REPLACE INTO claims VALUES (?, ?, ?)", (key, self._owner, now + seconds))
            return True

    def keep(self, key: str, judge: str, answer: Answer) -> Answer:
        """Store an answer; return the stored one, which is another's if that was there first."""
        values = (key, judge, answer.text, answer.date, answer.input_tokens, answer.output_tokens)
        with self._using(), self._writing():
            self._database.execute("INSERT OR IGNORE INTO replies VALUES (?, ?, ?, ?, ?, ?)", values)
            self._database.execute("DELETE FROM claims WHERE key = ?", (key,))
            return self._answer(key) or answer

    def release(self) -> None:
        """Give up the claims of this object."""
        with self._using(), self._writing():
            self._database.execute("DELETE FROM claims WHERE owner = ?", (self._owner,))

    def close(self) -> None:
        """Close the file; an answer that arrives later is not stored."""
        with self._lock:
            self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _answer(self, key: str) -> Answer | None:
        wanted = "SELECT text, date, input_tokens, output_tokens FROM replies WHERE key = ?"
        row = self._database.execute(wanted, (key,)).fetchone()
        return None if row is None else Answer(*row)

    def _opened(self) -> sqlite3.Connection:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))  # judged texts may be private
        except OSError as error:
            raise sqlite3.OperationalError(error.strerror or str(error)) from error
        # no implicit transactions: each statement outside of `_writing` is its own
        database = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            self._prepare(database)
        except BaseException:
            database.close()
            raise
        return database

    def _prepare(self, database: sqlite3.Connection) -> None:
        database.execute("BEGIN IMMEDIATE")  # before the first look, so that two processes cannot both create
        application = database.execute("PRAGMA application_id").fetchone()[0]
        version = database.execute("PRAGMA user_version").fetchone()[0]
        empty = not database.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        if application != APPLICATION and not (empty and application == 0):
            raise UserError(f"{self.path}: is another program's database, not a cache of replies; {_ELSEWHERE}")
        if version > VERSION:
            raise UserError(f"{self.path}: was written by a later overopt; upgrade this one, or {_ELSEWHERE}")
        if empty:
            for statement in [*_TABLES, f"PRAGMA application_id = {APPLICATION}", f"PRAGMA user_version = {VERSION}"]:
                database.execute(statement)
        database.execute("COMMIT")
        mode = "delete" if _on_network(self.path) else "wal"
        try:
            mode = database.execute(f"PRAGMA journal_mode = {mode}").fetchone()[0]
        except sqlite3.OperationalError:  # no shared memory here, or another process is at work: the mode stays
            mode = database.execute("PRAGMA journal_mode").fetchone()[0]
        # WAL loses nothing with its process; only a power failure may cost the last replies, never the file.
        database.execute(f"PRAGMA synchronous = {'NORMAL' if mode == 'wal' else 'FULL'}")

    @contextmanager
    def _writing(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")  # a lock taken later could fail without waiting
        try:
            yield
            self._database.execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise

    @contextmanager
    def _using(self) -> Iterator[None]:
        with self._lock:
            try:
                yield
            except sqlite3.OperationalError as error:  # locked, full, read-only
                raise UserError(
                    f"{self.path}: the cache of replies cannot be used ({error}); what it holds is intact: give the "
                    "same command again once there is room, quota and permission and no other process holds it"
                ) from error
            except sqlite3.DatabaseError as error:
                raise UserError(f"{self.path}: damaged, or not a cache of replies ({error}); {_ELSEWHERE}") from error


_ELSEWHERE = "it was left as it is: move it away, or set XDG_CACHE_HOME to another folder"


def _alive(owner: str) -> bool:
    """Whether the process of a claim may still run; True if that cannot be known."""
    host, _, rest = owner.rpartition(":")[0].rpartition(":")
    if host != socket.gethostname() or sys.platform == "win32":  # where signal 0 would end the process
        return True
    try:
        os.kill(int(rest), 0)
    except ProcessLookupError:
        return False
    except (OSError, ValueError):
        return True
    return True


def _on_network(path: Path) -> bool:
    """Whether a file lies on a network file system; False where the system does not say (it is Linux that does)."""
    try:
        lines = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    mounts = {Path(fields[1].replace("\\040", " ")): fields[2] for fields in map(str.split, lines) if len(fields) > 2}
    return next((mounts[folder] for folder in path.resolve().parents if folder in mounts), "") in NETWORK
