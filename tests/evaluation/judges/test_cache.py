from __future__ import annotations

import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from overopt.errors import UserError
from overopt.evaluation.judges import cache as cache_module
from overopt.evaluation.judges.base import Answer, Question
from overopt.evaluation.judges.cache import Cache, default_cache, key_of

QUESTION = Question((("user", "Which?"),), max_tokens=5)
ANSWER = Answer("Preferred: A", "2026-01-01T00:00:00+00:00", 12, 3)
JUDGE = {"kind": "openai", "model": "m"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "judgements.sqlite"


def test_an_answer_comes_back_whole_and_the_first_one_stays(path: Path) -> None:
    with Cache(path) as cache:
        assert cache.keep("k", "openai/m", ANSWER) == ANSWER
        assert cache.keep("k", "openai/m", replace(ANSWER, text="Preferred: B")) == ANSWER
    with Cache(path) as cache:
        assert cache.find(["k", "other"]) == {"k": ANSWER}
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_key_depends_on_all_that_decides_a_reply() -> None:
    others = [
        key_of(JUDGE | {"model": "n"}, QUESTION),
        key_of(JUDGE, replace(QUESTION, messages=(("user", "Which"),))),
        key_of(JUDGE, replace(QUESTION, messages=(("system", "Which?"),))),
        key_of(JUDGE, replace(QUESTION, max_tokens=6)),
        key_of(JUDGE, replace(QUESTION, attempt=2)),
    ]
    assert len({key_of(JUDGE, QUESTION), *others}) == 6
    assert key_of(JUDGE, QUESTION) == key_of(dict(reversed(JUDGE.items())), replace(QUESTION))


def test_the_default_is_in_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "overopt" / "judgements.sqlite"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache() == tmp_path / ".cache" / "overopt" / "judgements.sqlite"


# --- Several at once


def test_one_of_two_may_ask_until_it_has_answered_or_given_up(path: Path) -> None:
    with Cache(path) as one, Cache(path) as two:
        assert one.claim("k", 60) is True and one.claim("k", 60) is True  # it may ask again
        assert two.claim("k", 60) is False
        one.keep("k", "m", ANSWER)
        assert two.claim("k", 60) == ANSWER
        one.claim("l", 60)
        one.release()
        assert two.claim("l", 60) is True


def test_a_claim_ends_by_itself(path: Path) -> None:
    with Cache(path) as one, Cache(path) as two:
        one.claim("k", -1)
        assert two.claim("k", 60) is True


def forked(act: Callable[[], None]) -> int:
    """Start `act` in a process of its own; return its id. Nothing of SQLite may be open at that time."""
    process = os.fork()
    if process == 0:
        status = 1
        try:
            act()
            status = 0
        finally:
            os._exit(status)
    return process


def test_a_killed_process_holds_no_claim_and_loses_no_answer(path: Path) -> None:
    reading, writing = os.pipe()

    def act() -> None:
        cache = Cache(path)
        cache.keep("a", "m", ANSWER)
        assert cache.claim("k", 600) is True
        os.write(writing, b"!")
        time.sleep(60)

    process = forked(act)
    assert os.read(reading, 1) == b"!"
    with Cache(path) as cache:
        assert cache.claim("k", 60) is False
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        assert cache.claim("k", 60) is True
        assert cache.find(["a"]) == {"a": ANSWER}


def test_processes_and_threads_that_share_a_file_ask_nothing_twice(path: Path, tmp_path: Path) -> None:
    """Each question that a thread may ask is noted in its process's file, then answered."""

    def act(name: str) -> None:
        with Cache(path) as cache, (tmp_path / name).open("a") as asked:

            def work() -> None:
                for i in range(60):
                    if cache.claim(f"{i}", 60) is True:
                        asked.write(f"{i}\n")
                        cache.keep(f"{i}", "m", replace(ANSWER, text=f"{i}"))

            threads = [threading.Thread(target=work) for _ in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    names = ("one", "two", "three")
    processes = [forked(partial(act, name)) for name in names]
    assert [os.waitpid(process, 0)[1] for process in processes] == [0, 0, 0]
    with Cache(path) as cache:
        assert {key: answer.text for key, answer in cache.find(map(str, range(60))).items()} == {
            f"{i}": f"{i}" for i in range(60)
        }
    # A claim is a process's, not a thread's: `ask` gives each question to one thread.
    asked = [line for name in names for line in set((tmp_path / name).read_text().split())]
    assert sorted(asked) == sorted(f"{i}" for i in range(60))


def test_without_shared_memory_it_works_without_wal(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the layer of SQLite that locks with files, as on disks which know no other locks."""

    def connect(file: Path, **options: object) -> sqlite3.Connection:
        return original(f"file:{file}?vfs=unix-dotfile", uri=True, **options)  # type: ignore[call-overload, no-any-return]

    original = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", connect)
    with Cache(path) as one, Cache(path) as two:
        one.keep("k", "m", ANSWER)
        assert two.claim("k", 60) == ANSWER
    assert not path.with_name(path.name + "-wal").exists()


def test_no_wal_on_a_network_file_system(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes = {}
    for network in (False, True):
        monkeypatch.setattr(cache_module, "_on_network", lambda path, network=network: network)
        with Cache(path.with_suffix(f".{network}")) as cache:
            modes[network] = cache._database.execute("PRAGMA journal_mode").fetchone()[0]
    assert modes == {False: "wal", True: "delete"}


# --- Files that are no caches


@pytest.mark.parametrize("content", [b"not a database" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
def test_another_file_is_refused_and_left_alone(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"judgements.sqlite: .*(move it away|cannot be used)"):
        Cache(path)
    assert path.read_bytes() == content


def test_another_programs_database_and_a_later_version_are_refused(path: Path) -> None:
    path.parent.mkdir()
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE history (url TEXT)")
    other.close()
    with pytest.raises(UserError, match="another program's database, not a cache of replies; it was left as it is"):
        Cache(path)
    later = path.with_name("later.sqlite")
    Cache(later).close()
    database = sqlite3.connect(later)
    database.execute("PRAGMA user_version = 2")
    database.close()
    with pytest.raises(UserError, match="written by a later overopt"):
        Cache(later)


def test_a_cache_that_is_damaged_inside_is_refused_when_that_is_met(path: Path) -> None:
    with Cache(path) as cache:
        for i in range(200):
            cache.keep(f"{i:03}", "m", replace(ANSWER, text="x" * 1000))
    content = bytearray(path.read_bytes())
    assert len(content) > 100_000
    content[8192:-4096] = os.urandom(len(content) - 8192 - 4096)
    path.write_bytes(content)
    with pytest.raises(UserError, match="damaged, or not a cache of replies"), Cache(path) as cache:
        cache.find(f"{i:03}" for i in range(200))
    assert path.read_bytes() == bytes(content)


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="the cache of replies cannot be used"):
        Cache(tmp_path / "file" / "judgements.sqlite")
    with pytest.raises(UserError, match="Is a directory"):
        Cache(tmp_path)
