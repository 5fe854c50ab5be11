from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import tiny

from overopt.config import load
from overopt.errors import UserError
from overopt.planning import Plan, plan_all, table
from overopt.planning.seconds import Seconds
from overopt.planning.work import Shape, Trees, Work
from overopt.training.stages import STAGES
from overopt.training.train import train

if TYPE_CHECKING:
    from tiny import Chain

SHAPE = Shape(parameters=1000, linear=600, head=200, hidden=10, layers=2, vocabulary=20, key_width=20)
WORK = Work(3, Trees(4, 2, 6, 2), policies=2, evaluations=2, lengths="at their limit")


def stage(config: dict[str, Any]) -> Any:
    return load(STAGES, config)


def test_a_chain_that_does_not_exist_yet_is_planned_from_its_configurations(tmp_path: Path) -> None:
    names = {name: str(tmp_path / "runs" / name) for name in ("sft", "reward", "kl")}
    stages = {
        "sft": stage(tiny.sft(steps=7)),
        "reward": stage(tiny.reward_model(tiny.Chain(Path(names["sft"]), tmp_path))),
        "kl": stage(tiny.online(tiny.Chain(Path(names["sft"]), Path(names["reward"])))),
        "dpo": stage(tiny.offline(tiny.Chain(Path(names["sft"]), Path(names["reward"])))),
    }
    plans = plan_all(stages, "a100")
    assert [plan.work.steps for plan in plans] == [7, 4, 3, 4]
    assert [(plan.work.policies, plan.work.reward_models) for plan in plans] == [(1, 0), (1, 1), (2, 1), (2, 1)]
    assert len({plan.shape for plan in plans}) == 1
    text = table(plans, price=2.0)
    assert "sum: 4 stages" in text and "cost" in text and "A100" in text
    assert "as the references are" in text and "2 evaluations" in text
    rows = json.loads(json.dumps([plan.row(2.0) for plan in plans]))
    assert rows[2]["cost"] == pytest.approx(2.0 * rows[2]["hours"])


def test_a_missing_parent_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing: neither a run directory"):
        plan_all({"kl": stage(tiny.online(tiny.Chain(tmp_path / "nothing", tmp_path)))}, "a100")


def test_a_plan_for_this_machine_is_near_what_the_run_takes(chain: Chain, tmp_path: Path) -> None:
    """Only of the right order here: a test's steps last milliseconds. The benchmark holds the plan to a quarter."""
    config = tiny.sft(steps=12, batch_size=64, model=tiny.MODEL | {"hidden_size": 64, "layers": 3})
    (plan,) = plan_all({"sft": stage(config)}, None)
    run = train(config, tmp_path / "run")
    elapsed = [json.loads(line)["elapsed"] for line in (run.path / "timings.jsonl").read_text().splitlines()]
    steps = sorted(b - a for a, b in itertools.pairwise(elapsed))
    assert 0.2 < plan.seconds_per_step / steps[0] < 5
    assert plan.row(None)["where"] == "this machine"


def test_a_plan_adds_up() -> None:
    """Three steps of 20 minutes, and an hour of evaluations and pairs."""
    seconds = Seconds({"updates": 1200.0}, {"evaluations": 3000.0, "pairs": 600.0})
    plan = Plan("x", "online", SHAPE, WORK, seconds, {"weights": 3.0, "activations": 4.0}, "here", {"h100": 8, "t4": 0})
    assert plan.hours == 2.0
    row = plan.row(3.0)
    assert (row["cost"], row["memory_mb_sum"], row["tokens"], row["evaluations"]) == (6.0, 7.0, 120, 2)
    assert "cost" not in plan.row(None)
    text = table([plan], None)
    assert "2.00 hours" in text and "2 evaluations 50.0 minutes, pairs 10.0 minutes" in text
    assert "completions of 2 tokens, at their limit" in text
    assert "  fits h100; not t4\n" in text and row["fits"] == {"h100": 8, "t4": 0}


def test_equal_runs_are_computed_once_and_share_an_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Learning rate and coefficients cost nothing; epochs do."""
    chain = tiny.Chain(tmp_path / "sft", tmp_path / "reward")
    stages = {"sft": stage(tiny.sft(steps=7)), "reward": stage(tiny.reward_model(chain))} | {
        name: stage(tiny.online(chain, **more))
        for name, more in {"kl": {}, "low": {"lr": 1e-9}, "once": {"epochs": 1}, "none": {"regularizers": []}}.items()
    }
    counted = []
    monkeypatch.setattr("overopt.planning.plan.memory_of", lambda *given: counted.append(given) or {"weights": 1.0})
    plans = plan_all(stages, "a100")
    assert [plan.name for plan in plans] == ["sft", "reward", "kl", "low", "once", "none"]
    assert len(counted) == 4 and plans[3].hours == plans[2].hours > plans[4].hours
    lines = table(plans, None).splitlines()
    assert [line.split(":")[0] for line in lines if line[0] != " "] == ["sft", "reward", "kl", "once", "sum"]
    assert "    low, none" in lines and any(", all 3 " in line for line in lines)


def test_lora_updates_cost_two_thirds(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    chain = tiny.Chain(tmp_path / "sft", tmp_path / "reward")
    stages = {"sft": stage(tiny.sft()), "reward": stage(tiny.reward_model(chain))}
    lora = stage(tiny.online(chain, trainable="lora"))
    plans = {plan.name: plan for plan in plan_all(stages | {"full": stage(tiny.online(chain)), "lora": lora}, "a100")}
    full, ours = plans["full"], plans["lora"]
    assert ours.seconds.step["updates"] == pytest.approx(2 / 3 * full.seconds.step["updates"])
    assert ours.memory["optimizer"] < full.memory["optimizer"] and ours.memory["weights"] < full.memory["weights"]
    assert set(ours.fits.values()) == {round(ours.work.batch.tokens)}  # so small a model fits any of them


def test_layers_that_are_computed_again_cost_a_forward_pass_more(tmp_path: Path) -> None:
    less = {"gradient_checkpointing": "layers"}
    plain, again = plan_all(
        {"a": stage(tiny.sft()), "b": stage(tiny.sft(compute=tiny.sft()["compute"] | less))}, "a100"
    )
    assert again.seconds.step["updates"] == pytest.approx(4 / 3 * plain.seconds.step["updates"])
