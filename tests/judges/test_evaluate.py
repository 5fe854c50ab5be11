"""`overopt evaluate` by a model behind an API, killed in the middle: what was judged stays, nothing is asked twice."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import tiny
from faulty_api import FaultyAPI
from tiny import Chain

from overopt.records import Run, load_run
from overopt.training.train import train

KEY = "sk-planted-0123456789abcdefghij"
CONCURRENCY = 4
JUDGE = f"{{name: openai, model: stub, concurrency: {CONCURRENCY}}}"
ID = "openai/stub:j1"


def start(run: Run, api: FaultyAPI, cache: Path) -> subprocess.Popen[str]:
    environment = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": api.url, "XDG_CACHE_HOME": str(cache)}
    command = [sys.executable, "-m", "overopt", "evaluate", str(run.path), "--judge", JUDGE]
    return subprocess.Popen(
        command, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def without_dates(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != "date"} for row in rows]


def test_an_evaluation_that_is_killed_ends_like_one_that_is_not(chain: Chain, tmp_path: Path) -> None:
    settings = tiny.online(chain, checkpoint_every=1, lr=1e-2, keep="last")
    undisturbed = train(settings, tmp_path / "undisturbed" / "kl")
    killed = load_run(shutil.copytree(undisturbed.path, tmp_path / "killed" / "kl"))
    with FaultyAPI(key=KEY, delay=0.05) as api:
        process = start(undisturbed, api, tmp_path / "first")
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        asked = api.asked.total()
        api.asked.clear()

        process = start(killed, api, tmp_path / "second")
        lines = killed.path / "evaluations" / "openai-stub-j1.jsonl"
        while not lines.exists() or lines.read_bytes().count(b"\n") < 2:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        kept = killed.evaluations(ID)
        assert 2 <= len(kept) < 4 and api.asked.total() < asked

        process = start(killed, api, tmp_path / "second")
        again, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        assert api.wrong == []
        assert asked <= api.asked.total() <= asked + CONCURRENCY
    rows = killed.evaluations(ID)
    assert [row["step"] for row in rows] == [0, 1, 2, 3] and again == out
    assert without_dates(rows) == without_dates(undisturbed.evaluations(ID))
    for step in (0, 1, 2, 3):
        assert killed.samples(step) == undisturbed.samples(step)
        replies = killed.judgements(step)
        assert without_dates(replies) == without_dates(undisturbed.judgements(step)) and len(replies) > 16
    assert rows[0]["invalid"] > 0  # some replies are of another format
    text = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert KEY.encode() not in text and KEY not in out + err
