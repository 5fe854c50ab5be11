"""The judge under fire, by the SDK that users have: an API that fails in every way, and SIGKILL in the middle.

The numbers must be those of a run that nothing disturbed: none lost, none asked twice once its answer was stored, the
cost right, and the key found nowhere.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import judging
import pytest
from faulty_api import FAULTS, FaultyAPI, kind_of, usage_of
from judging import comparisons

from overopt.evaluation.judges.base import Situation
from overopt.evaluation.judges.cache import Cache, key_of
from overopt.evaluation.judges.openai import OpenAI

KEY = "sk-planted/0123456789+abcdefghijklmnop"
CONCURRENCY = 8
PRICES = {"input_price": 0.15, "output_price": 0.6}
PAIRS = 1000

JUDGE: dict[str, Any] = {"model": "stub", "concurrency": CONCURRENCY, "timeout": 15.0, **PRICES}


class Stand:
    """A folder for one cache, judged by processes of their own."""

    def __init__(self, folder: Path, api: FaultyAPI, pairs: int = PAIRS, **judge: Any) -> None:
        folder.mkdir()
        self.folder, self.api, self.pairs = folder, api, pairs
        self.cache, self.settings, self.started = folder / "cache.sqlite", JUDGE | judge, 0

    def start(self) -> subprocess.Popen[bytes]:
        self.started += 1
        name = f"{self.started}"
        arguments = [self.cache, self.folder / f"{name}.json", json.dumps(self.settings), self.pairs]
        environment = {**os.environ, "OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": self.api.url, "OPENAI_LOG": "debug"}
        with (self.folder / f"{name}.out").open("wb") as out, (self.folder / f"{name}.err").open("wb") as err:
            return subprocess.Popen(
                [sys.executable, judging.__file__, *map(str, arguments)], env=environment, stdout=out, stderr=err
            )

    def finish(self) -> list[Any]:
        process = self.start()
        assert process.wait(900) == 0, self.said()
        return self.rows()

    def rows(self) -> list[Any]:
        rows: list[Any] = json.loads((self.folder / f"{self.started}.json").read_text())
        return rows

    def said(self) -> str:
        return (self.folder / f"{self.started}.err").read_text()[-3000:]

    def stored(self, monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, int], tuple[int, int]]:
        """Tokens of the stored answers, by text and attempt."""
        monkeypatch.setenv("OPENAI_BASE_URL", self.api.url)
        judge = OpenAI(**self.settings)
        identity = judge.decisive(Situation())
        keys = {}
        for comparison in comparisons(self.pairs):
            for position in ("A", "B"):
                question = judge.prompt.question(comparison, position)
                for attempt in (1, 2, 3):
                    asked = key_of(identity, replace(question, attempt=attempt))
                    keys[asked] = (question.messages[-1][1], attempt)
        with Cache(self.cache) as cache:
            found = cache.find(keys)
        return {keys[key]: (answer.input_tokens, answer.output_tokens) for key, answer in found.items()}

    def killed_after(self, answers: int) -> None:
        """Start a process and kill it once the API has given so many more answers."""
        before = self.api.answered.total()
        process = self.start()
        while self.api.answered.total() < before + answers:
            assert process.poll() is None, self.said()
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL


def some_fail(text: str, times: int) -> str | None:
    """A third of the texts fail once, some of them twice, each in a way that depends on the text."""
    draw = zlib.crc32(b"fault" + text.encode())
    if times > 1 + draw % 7 // 6 or draw % 3:
        return None
    fault = FAULTS[draw // 3 % len(FAULTS)]
    seldom = fault in ("no reply", "429 for a second", "429 until a date")  # which take a second or more
    return "429" if seldom and draw % 8 else fault


def readable(text: str) -> bool:
    return kind_of(text) in ("preferred", "with the key")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[list[Any], FaultyAPI]]:
    with FaultyAPI(key=KEY) as api:
        yield Stand(tmp_path_factory.mktemp("a") / "undisturbed", api).finish(), api


def test_faults_and_three_kills_change_no_number(
    undisturbed: tuple[list[Any], FaultyAPI], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    expected, calm = undisturbed
    with FaultyAPI(some_fail, KEY, stall=20.0) as api:
        stand = Stand(tmp_path / "disturbed", api)
        kills = (300, 700, 1100)
        for answers in kills:
            stand.killed_after(answers)
            time.sleep(0.5)  # what was under way is over
            stored = stand.stored(monkeypatch)
            with api.lock:
                api.settled = {text for text, attempt in stored if readable(text)}
            # lost: answers that were on their way at a kill
            assert api.answered.total() - len(stored) <= CONCURRENCY * stand.started
        rows = stand.finish()
        stored = stand.stored(monkeypatch)

    assert [row[0] for row in rows] == [row[0] for row in expected]
    assert rows == expected
    assert sum(row[0] is None for row in rows) == sum(row[0] is None for row in expected) > 100
    assert api.wrong == []
    twice = api.answered.total() - calm.answered.total()
    assert 0 <= twice <= CONCURRENCY * len(kills)
    assert len(stored) == calm.answered.total() == sum(calm.asked.values())
    tokens = [sum(counts) for counts in zip(*stored.values(), strict=True)]
    assert tokens == [sum(usage_of(text)[i] * n for text, n in calm.answered.items()) for i in (0, 1)]
    assert set(api.faults) == set(FAULTS)
    assert calm.most_under_way <= CONCURRENCY
    with capsys.disabled():
        print(
            f"\n{PAIRS:,} pairs, {len(stored):,} answers; {len(kills)} kills, {api.faults.total()} faults: "
            f"{api.asked.total():,} requests, {twice} answered twice because of a kill"
        )
    assert_nowhere(KEY, tmp_path / "disturbed")


def test_the_bill_is_what_the_api_counted(tmp_path: Path) -> None:
    with FaultyAPI(
        lambda text, times: "500" if times == 1 and zlib.crc32(text.encode()) % 5 == 0 else None, KEY
    ) as api:
        stand = Stand(tmp_path / "bill", api, pairs=100)
        stand.finish()
    tokens = [sum(usage_of(text)[i] * n for text, n in api.answered.items()) for i in (0, 1)]
    cost = (tokens[0] * PRICES["input_price"] + tokens[1] * PRICES["output_price"]) / 1e6
    assert (
        f"openai/stub: {api.asked.total():,} requests, {tokens[0]:,} tokens in, {tokens[1]:,} out, cost {cost:.4g} "
        "since this command began" in stand.said()
    )


def test_a_budget_is_not_passed_over_several_commands(tmp_path: Path) -> None:
    with FaultyAPI(key=KEY) as api:
        stand = Stand(tmp_path / "budget", api, pairs=60, max_requests=50)
        for done in (1, 2):
            assert stand.start().wait(300) == 1
            assert "max_requests 50" in stand.said() and api.asked.total() == 50 * done
        stand.settings |= {"max_requests": 1000}
        assert len(stand.finish()) == 60
        assert all(n == 1 for text, n in api.answered.items() if readable(text))


def test_two_processes_on_one_cache_ask_nothing_twice(tmp_path: Path) -> None:
    with FaultyAPI(key=KEY, delay=0.02) as api:
        stand = Stand(tmp_path / "two", api, pairs=150)
        processes = [stand.start(), stand.start()]
        assert [process.wait(300) for process in processes] == [0, 0], stand.said()
        one, two = (json.loads((stand.folder / f"{n}.json").read_text()) for n in (1, 2))
    assert one == two and len(one) == 150
    assert {n for text, n in api.answered.items() if readable(text)} == {1}
    assert {n for text, n in api.answered.items() if not readable(text)} == {3}  # its attempts


def test_a_key_that_is_refused_ends_it_at_once_and_is_not_shown(tmp_path: Path) -> None:
    with FaultyAPI(lambda text, times: "401", KEY) as api:
        stand = Stand(tmp_path / "refused", api, pairs=20)
        assert stand.start().wait(300) == 1
        assert "HTTP 401: Incorrect API key provided: [redacted], or [redacted]" in stand.said()
        assert api.asked.total() <= CONCURRENCY
    assert_nowhere(KEY, stand.folder)


def test_an_api_that_is_gone_ends_it_with_what_is_kept(tmp_path: Path) -> None:
    with FaultyAPI(key=KEY, delay=0.05) as api:
        stand = Stand(tmp_path / "gone", api, pairs=100)
        process = stand.start()
        while api.answered.total() < 50:
            time.sleep(0.01)
    assert process.wait(300) == 1
    assert "requests in a row failed, the last one: Connection error.: " in stand.said()
    assert "answers are kept in" in stand.said()


def test_ctrl_c_ends_it_promptly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one request hangs: the answers that arrived are there, and nobody waits for the time-out."""
    with FaultyAPI(lambda text, times: "no reply" if "post 9\n" in text else None, KEY, stall=60) as api:
        stand = Stand(tmp_path / "interrupted", api, pairs=20, timeout=60.0)
        process = stand.start()
        while api.under_way < 2 or api.answered.total() < 38:
            assert process.poll() is None, stand.said()
            time.sleep(0.01)
        time.sleep(0.5)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.wait(30)
        assert time.monotonic() - began < 20  # a third of the time-out; a second, where nothing else runs
        assert stand.said().rstrip().endswith("KeyboardInterrupt")
        assert len(stand.stored(monkeypatch)) == api.answered.total()


def test_a_certificate_that_cannot_be_verified_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1", "-days", "1"]
    made = subprocess.run([*command, "-keyout", str(file), "-out", str(tmp_path / "c.pem")], capture_output=True)
    if made.returncode:
        pytest.skip("no openssl here")
    file.write_bytes(file.read_bytes() + (tmp_path / "c.pem").read_bytes())
    with FaultyAPI(key=KEY, certificate=file) as api:
        stand = Stand(tmp_path / "tls", api, pairs=1)
        assert stand.start().wait(300) == 1
        assert "certificate verify failed" in stand.said().lower()
    assert api.asked.total() == 0


def assert_nowhere(key: str, folder: Path) -> None:
    """The key, in any encoding, is in no file of a folder: cache, its log, results, stdout, stderr."""
    forms = {key, quote(key, safe=""), base64.b64encode(key.encode()).decode(), json.dumps(key)[1:-1], key[3:]}
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} >= {".sqlite", ".err", ".out"}
    assert [path for path in files for form in forms if form.encode() in path.read_bytes()] == []
    assert any(b"[redacted]" in path.read_bytes() for path in files)
