from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import tiny
from transformers import AutoConfig

from overopt.config import load
from overopt.engine.devices import Device
from overopt.errors import UserError
from overopt.models.load import load_tokenizer
from overopt.records import load_run
from overopt.training import planning
from overopt.training.planning import Plan, Shape, Work, memory_of, on_device, plan_all, table
from overopt.training.stages import STAGES, train

if TYPE_CHECKING:
    from tiny import Chain

SHAPE = Shape(parameters=1000, linear=600, hidden=10, layers=2, vocabulary=20, key_width=20)
WORK = Work(
    steps=3, prompts=4, group=2, prompt_tokens=6, completion_tokens=2, forwards=1.5, updates=2, sampled=True, models=3
)


def stage(config: dict[str, Any]) -> Any:
    return load(STAGES, config)


def test_flops_by_hand() -> None:
    """A tree of 10 tokens: maps 2 * 600 * 10; attention 4 * 10 * 2 * (18 + 2 * 2 * 7); head 2 * 10 * 20 * 4."""
    assert WORK.tokens == 40
    assert WORK.forward_flops(SHAPE) == 4 * (12_000 + 80 * 46 + 1600)
    assert WORK.flops(SHAPE) == WORK.forward_flops(SHAPE) * (1.5 + 6 + 1)


@pytest.mark.parametrize(("architecture", "extra"), [("gpt_neox", {}), ("llama", {"tie_word_embeddings": True})])
def test_a_shape_counts_what_a_model_has(architecture: str, extra: dict[str, Any]) -> None:
    policy = tiny.policy(architecture, **extra)
    shape = Shape.of(policy.model.config)
    assert shape.parameters == sum(p.numel() for p in policy.model.parameters())
    maps = [m for m in policy.model.base_model.modules() if type(m).__name__ == "Linear"]
    assert shape.linear == sum(m.weight.numel() for m in maps)
    assert (shape.hidden, shape.layers, shape.key_width) == (16, 2, 32)


def test_memory_by_part_by_hand(chain: Chain) -> None:
    online = stage(tiny.online(chain))
    memory = memory_of(online, SHAPE, WORK)
    assert memory["weights"] * 2**20 == 12_000
    assert (memory["gradients"] * 2**20, memory["optimizer"] * 2**20) == (4000, 8000)
    assert memory["activations"] * 2**20 == 40 * 20 * 10 * 2 * 4 + 16 * 20 * 4
    small = dataclasses.replace(online, compute=dataclasses.replace(online.compute, token_budget=5))
    assert memory_of(small, SHAPE, WORK)["activations"] < memory["activations"] / 2
    lean = dataclasses.replace(online, compute=dataclasses.replace(online.compute, gradient_checkpointing="layers"))
    assert memory_of(lean, SHAPE, WORK)["activations"] < memory["activations"]


def test_a_gpu_is_bound_by_arithmetic_and_by_reading_the_weights(chain: Chain) -> None:
    device = Device(fp32=1, bf16=2, memory=1, bandwidth=1, source="made up")
    seconds = on_device(stage(tiny.online(chain)), SHAPE, WORK, device)
    flops = WORK.forward_flops(SHAPE)
    assert seconds["passes"] == pytest.approx(flops * 7.5 / 1e12 / 0.35)
    assert seconds["sampling"] == pytest.approx((2 * 4000 / 1e9 + flops / 1e12) / 0.35)


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
    assert [plan.work.models for plan in plans] == [1, 2, 3, 2]
    assert len({plan.shape for plan in plans}) == 1
    text = table(plans, price=2.0)
    assert "sum: 4 stages" in text and "cost" in text and "A100" in text
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


def test_every_part_of_a_step_is_measured(chain: Chain) -> None:
    online = stage(tiny.online(chain))
    folder = load_run(chain.policy).checkpoint()
    config, tokenizer = AutoConfig.from_pretrained(folder), load_tokenizer(folder)
    seconds = planning.measure(online, config, tokenizer, planning.work_of(online, tokenizer))
    assert seconds.keys() == {"updates", "optimizer", "passes", "sampling"}
    assert all(0 < value < 5 for value in seconds.values())


def test_a_plan_adds_up() -> None:
    plan = Plan("x", "online", SHAPE, WORK, 1200.0, {"weights": 3.0, "activations": 4.0}, "here", {"updates": 1200.0})
    assert plan.hours == 1.0
    assert plan.row(3.0)["cost"] == 3.0 and plan.row(3.0)["memory_mb_sum"] == 7.0 and plan.row(3.0)["tokens"] == 120
    assert "cost" not in plan.row(None)
    assert "1.00 hours" in table([plan], None)
