"""An OpenAI-compatible server that nobody here wrote: `transformers serve` with SmolLM2-135M, behind the real client.

200 judgements (100 pairs of LLMBar, both orders). Client and server are killed once each; then the judgements are those
of an undisturbed run, no answer that had arrived was asked for again, and client, proxy and server count alike.
`make test-judges` installs what this needs and fetches the model; `-s` prints the counts.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from counting_proxy import CountingProxy
from judge_client import CONCURRENCY, PROMPT, comparisons

from overopt.engine.compute import Compute
from overopt.evaluation.judges.base import Situation
from overopt.evaluation.judges.hf import HF

ROOT = Path(__file__).resolve().parents[2]
FAKES = ROOT / "tests" / "fakes"
MODEL = Path(os.environ.get("OVEROPT_REAL_MODEL", ROOT / "out" / "example" / "model"))
JUDGEMENTS = 200
PATIENCE = 3600
"""Seconds, for a busy machine; alone it takes a fraction of that."""


class Server:
    """`transformers serve` on a port of its own; it can be killed and started again there."""

    def __init__(self, log: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "transformers.cli.transformers", "serve", MODEL, "--host", "127.0.0.1"]
        command += ["--port", str(self.port), "--device", "cpu", "--dtype", "float32"]
        with self.log.open("ab") as log:
            offline = os.environ | {"HF_HUB_OFFLINE": "1"}
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=offline)
        wait_until(self.healthy, "the server's health")

    def healthy(self) -> bool:
        assert self.process is not None and self.process.poll() is None, self.log.read_text(errors="replace")[-3000:]
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5) as reply:
            return bool(reply.status == 200)
        return False

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def answered(self) -> int:
        """Requests that it says, in its log, it has answered."""
        return self.log.read_text(errors="replace").count('"POST /v1/chat/completions HTTP/1.1" 200')


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    assert (MODEL / "config.json").is_file(), f"{MODEL} is missing: make test-judges fetches SmolLM2-135M"
    server = Server(tmp_path_factory.mktemp("server") / "server.log")
    server.start()
    yield server
    server.kill()


class Client:
    """The judge in a process of its own, with its files in a folder."""

    def __init__(self, folder: Path, url: str) -> None:
        self.files = [folder / name for name in ("cache.sqlite", "sent", "judgements.json")]
        self.cache, self.sent, self.out = self.files
        self.environment = os.environ | {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": ""}
        self.process: subprocess.Popen[bytes] | None = None
        self.gave_up = 0

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def start(self) -> None:
        command = [sys.executable, FAKES / "judge_client.py", MODEL, *self.files]
        self.process = subprocess.Popen(command, env=self.environment)

    def finish(self) -> Any:
        """The judgements. On a slow machine it may give up before the server is back; then it is started again."""
        assert self.process is not None
        while self.process.wait(PATIENCE) == 2:
            self.gave_up += 1
            self.start()
        assert self.process.returncode == 0
        return json.loads(self.out.read_text(encoding="utf-8"))

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        assert self.process.wait() == -signal.SIGKILL

    def requests(self) -> int:
        return self.sent.stat().st_size if self.sent.exists() else 0

    def kept(self) -> int:
        """Answers in the cache."""
        if not self.cache.exists():
            return 0
        database = sqlite3.connect(self.cache)
        try:
            return int(database.execute("SELECT count(*) FROM replies").fetchone()[0])
        except sqlite3.OperationalError:  # not created yet
            return 0
        finally:
            database.close()


def wait_until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {PATIENCE} s"
        time.sleep(0.05)


def without_dates(judgements: Any) -> Any:
    return [judgement | {"replies": [r | {"date": ""} for r in judgement["replies"]]} for judgement in judgements]


def texts(judgements: Any) -> list[str]:
    return [reply["text"] for judgement in judgements for reply in judgement["replies"]]


@pytest.fixture(scope="module")
def undisturbed(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The judgements without any accident; every question is asked once, and all sides count the same."""
    before = server.answered()
    folder = tmp_path_factory.mktemp("undisturbed")
    with CountingProxy(server.port) as proxy, Client(folder, proxy.url) as client:
        began = time.monotonic()
        client.start()
        judgements = client.finish()
    seconds = time.monotonic() - began
    counts = client.requests(), proxy.received, len(proxy.answered()), server.answered() - before, client.kept()
    print(f"undisturbed: {seconds:.0f} s; sent, received, answered, server's own count, kept: {counts}")
    assert counts == (JUDGEMENTS,) * 5
    assert len(set(proxy.asked())) == JUDGEMENTS
    assert len(set(texts(judgements))) > JUDGEMENTS // 4  # else equal replies would prove little
    return judgements


def test_killed_client_and_killed_server(server: Server, undisturbed: Any, tmp_path: Path) -> None:
    before = server.answered()
    with CountingProxy(server.port) as proxy, Client(tmp_path, proxy.url) as client:
        client.start()
        wait_until(lambda: client.kept() >= JUDGEMENTS // 4, "a quarter of the answers")
        client.kill()
        time.sleep(1)  # what it sent last arrives
        wait_until(lambda: len(proxy.passed) == proxy.received, "the requests that the client left behind")
        kept, sent = client.kept(), client.requests()
        assert JUDGEMENTS // 4 <= kept < JUDGEMENTS // 2
        client.start()
        wait_until(lambda: client.kept() >= JUDGEMENTS // 2, "half of the answers")
        server.kill()
        wait_until(lambda: len(proxy.asked()) > len(proxy.answered()), "a request that fails")
        server.start()
        judgements = client.finish()
        failed = len(proxy.asked()) - len(proxy.answered())
    print(
        f"killed: {kept} answers kept of {sent} requests when the client was killed; {failed} failed with the server "
        f"(the client gave up {client.gave_up} times); "
        f"{client.requests()} sent in all, {proxy.received} received, {server.answered() - before} answered by its log"
    )
    assert without_dates(judgements) == without_dates(undisturbed)
    assert client.kept() == JUDGEMENTS
    # Every request that the client sent arrived, but for those that it was about to send when it was killed.
    lost = client.requests() - proxy.received
    assert 0 <= lost <= CONCURRENCY
    # After its end nothing was asked that was kept: one answered request for each of the others.
    under_way = CONCURRENCY * client.gave_up  # may be answered when it has given up
    assert 0 <= client.requests() - sent - failed - (JUDGEMENTS - kept) <= under_way
    # In all, a question was answered twice only if its first answer was under way when the client ended.
    again = [count - 1 for count in Counter(proxy.answered()).values()]
    assert len(again) == JUDGEMENTS and 0 <= sum(again) - (sent - lost - kept) <= under_way
    assert 0 <= server.answered() - before - len(proxy.answered()) <= CONCURRENCY


def test_the_local_judge_reads_the_same_replies(undisturbed: Any, tmp_path: Path) -> None:
    """The same model by our own engine, decoding greedily: its template, tokens and replies are the server's.

    Rounding may decide between two tokens that are as good as equally probable, so a few replies may differ.
    """
    judge = HF(model=str(MODEL), prompt=PROMPT, answer="text")
    found = judge.judge(comparisons(), Situation(cache=tmp_path / "cache.sqlite", compute=Compute(device="cpu")))
    ours = [reply.text for judgement in found for reply in judgement.replies]
    same = sum(a == b for a, b in zip(ours, texts(undisturbed), strict=True))
    print(f"replies that agree: {same} of {JUDGEMENTS}; {len(set(ours))} different ones")
    assert same >= JUDGEMENTS - 4
