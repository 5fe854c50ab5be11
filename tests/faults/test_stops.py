"""Real runs that a condition ends: where they end, what they leave, and that a death on the way changes neither.

The expected end is read off the records of the same run without conditions, of which it must be the beginning.
"""

from __future__ import annotations

import os
import random
import signal
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from pyarrow import parquet
from tiny import Chain

from faults import Config, Stand, in_child, left_behind, run_in_child
from overopt import stopping
from overopt.outcomes import label
from overopt.records import Run, load_run
from overopt.training.run import stopping as run_stopping
from overopt.training.run.progress import Progress
from overopt.training.train import train

pytestmark = pytest.mark.long

EVERY = 2
TASK = {"name": "miniature", "prompt_count": 64, "reward_test_count": 32, "evaluation_count": 64}
GOOD = {"lr": 8e-3, "grad_clip": 1.0, "schedule": {"name": "linear", "warmup": 30}, "batch_size": 32}
MODEL = tiny.MODEL | {"hidden_size": 32, "layers": 2, "init_std": 0.056}


@pytest.fixture(scope="session")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """A policy that wins now and then, so that it has something to lose."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("winning")
    made = Chain(folder / "sft", folder / "reward-model")
    train(tiny.sft(task=TASK, model=MODEL, steps=300, checkpoint_every=300, **GOOD), made.policy)
    train(tiny.reward_model(made, task=TASK, epochs=2), made.reward_model)
    return made


def config_of(stage: str, chain: Chain, **changes: Any) -> Config:
    """Twelve updates, each other one evaluated; both over-optimize after a rise."""
    shared = {"task": TASK, "checkpoint_every": EVERY} | changes
    if stage == "offline":
        return tiny.offline(chain, epochs=3, lr=3e-3, **shared)
    missing_eos = {"name": "subtract", "penalty": 1.0}
    return tiny.online(chain, total_episodes=96, lr=1e-3, seed=1, missing_eos=missing_eos, **shared)


@pytest.fixture(scope="session", params=["online", "offline"])
def whole(request: pytest.FixtureRequest, chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(config_of(request.param, chain), tmp_path_factory.mktemp(request.param) / "whole")


def judged(run: Run) -> list[dict[str, Any]]:
    return [row for row in run.evaluations() if row.get("win_rate") is not None]


# --- Where it should end, from the records of the run that nothing ended


def in_a_row(run: Run, patience: int, wrong: Callable[[Run, dict[str, Any]], bool]) -> int:
    """The step of the first evaluation at which something is wrong for that many in a row."""
    count = 0
    for row in judged(run):
        count = count + 1 if wrong(run, row) else 0
        if count == patience:
            return int(row["step"])
    pytest.fail("this run would not end early, and shows nothing")


def beyond_budget(run: Run, row: dict[str, Any]) -> bool:
    return row["kl_ref"] > 1.0


def wins_less(run: Run, row: dict[str, Any]) -> bool:
    return row["win_difference"] < -0.5 * row["win_difference_se"]


NOT_GOOD = ["OVER", "OVER-PEAK", "COLLAPSE", "FLAT", "STALL"]


def not_good(run: Run, row: dict[str, Any]) -> bool:
    """Two ways down, and an evaluation every so many of twelve steps: what each may spend of 5 %."""
    found = label(run, until=row["step"])
    return found.label in NOT_GOOD and (found.p is None or found.p <= 0.05 * EVERY / 12 / 2)


def alone(run: Run, row: dict[str, Any]) -> bool:
    """Gold lower than where it was best, the proxy higher, over the same prompts and by a standard error each."""
    until = [samples(run, other["step"]) for other in judged(run) if other["step"] <= row["step"]]
    best = max(until, key=lambda columns: columns["gold"].mean())
    higher = {name: until[-1][name] - best[name] for name in ("gold", "proxy")}
    errors = {name: d.std(ddof=1) / len(d) ** 0.5 for name, d in higher.items()}
    return bool(higher["gold"].mean() < -errors["gold"] and higher["proxy"].mean() > errors["proxy"])


def samples(run: Run, step: int) -> dict[str, np.ndarray]:
    rows = sorted(
        parquet.read_table(run.path / f"samples/step-{step}.parquet").to_pylist(), key=lambda r: r["prompt_id"]
    )
    return {name: np.array([row[name] for row in rows]) for name in ("gold", "proxy")}


ENDS: dict[str, tuple[dict[str, Any], int, Callable[[Run, dict[str, Any]], bool]]] = {
    "kl": ({"budget": 1.0}, 2, beyond_budget),
    "win_rate": ({"standard_errors": 0.5}, 2, wins_less),
    "label": ({"labels": NOT_GOOD, "patience": 1}, 1, not_good),
    "proxy_alone": ({"standard_errors": 1.0, "patience": 1}, 1, alone),
}
"""Settings of a condition, its patience, and what it finds wrong."""


@pytest.mark.parametrize("name", ENDS)
def test_a_condition_ends_a_real_run_and_nothing_comes_after(
    whole: Run, chain: Chain, tmp_path: Path, name: str
) -> None:
    settings, patience, wrong = ENDS[name]
    end = in_a_row(whole, patience, wrong)
    best = max(judged(whole)[: end // EVERY + 1], key=lambda row: (row["win_rate"], -row["step"]))["step"]
    assert 0 < best <= end < 12

    config = config_of(whole.stage, chain, stop_when=[{"name": name} | settings], keep="best")
    said: list[str] = []
    run = train(config, tmp_path / "run", notice=said.append)

    assert (run.status, run.info["stopped_by"], run.info["stopped_at"]) == ("stopped", name, end)
    assert run.info["go_back_to"] == best
    assert f"{name} at step {end}: {run.info['reason']}; go back to step {best}" in said[-1]
    assert run.checkpoints() == [best] and run.checkpoint().name == f"step-{best}"
    assert whole.path.joinpath("metrics.jsonl").read_bytes().startswith(tiny.metrics(run))
    for of_the_whole, of_the_run in zip(judged(whole), judged(run), strict=False):
        assert of_the_whole == of_the_run
    assert (len(tiny.rows(run)), judged(run)[-1]["step"]) == (end, end)
    left, there = left_behind(run.path), left_behind(whole.path)
    folders = ("samples/", f"checkpoints/step-{best}/")
    assert all(there[file] == left[file] for file in left if file.startswith(folders))
    assert sorted(path.name for path in (run.path / "samples").iterdir()) == sorted(
        f"step-{step}.parquet" for step in range(0, end + 1, EVERY)
    )
    assert not (run.path / "trainer").exists()

    train(config, run.path, notice=said.append)
    assert said[-1] == f"{run.path}: stopped already, left alone"
    assert left_behind(run.path) == left


def test_killed_between_the_last_state_and_the_stop(whole: Run, chain: Chain, tmp_path: Path) -> None:
    """Nothing says yet that it should end, and no step may come before that is found out again."""
    config = config_of(whole.stage, chain, stop_when=[{"name": "kl", "budget": 1.0}], keep="best")
    assert run_in_child(config, tmp_path / "whole").status == 0
    expected = left_behind(tmp_path / "whole")
    out = tmp_path / "run"

    def dies(conditions: Any, history: Any) -> Any:
        if stopping.decide(conditions, history) is not None:
            os.kill(os.getpid(), signal.SIGKILL)

    def act(say: Callable[[str], None]) -> None:
        run_stopping.decide = dies
        train(config, out)

    assert in_child(act).signal == signal.SIGKILL
    end = load_run(tmp_path / "whole").info["stopped_at"]
    assert load_run(out).status == "running" and (out / f"trainer/step-{end}").is_dir()

    def seen(now: Progress) -> None:
        raise AssertionError(f"step {now.step} was made")

    ending = run_in_child(config, out, seen=seen)
    assert (ending.signal, ending.status) == (0, 0), ending.said
    assert ending.said[0] == f"{out}: goes on after step {end} of 12" and "stopped early, kl" in ending.said[1]
    assert left_behind(out) == expected


def test_killed_anywhere_it_ends_at_the_same_stop(whole: Run, chain: Chain, tmp_path: Path, capsys: Any) -> None:
    config = config_of(whole.stage, chain, stop_when=[{"name": "kl", "budget": 1.0}], keep="best")
    stand = Stand(config, tmp_path, EVERY)
    tally = stand.survive(10, random.Random(zlib.crc32(whole.stage.encode())))
    with capsys.disabled():
        print(f"\n{whole.stage}, stopped at step {stand.steps}: {tally}", flush=True)
    assert load_run(stand.reference).status == "stopped"
