from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import tiny
import torch
from tiny import Chain

from overopt.config import load
from overopt.engine.compute import Compute
from overopt.engine.footprint import peak_bytes
from overopt.engine.head import target_logps
from overopt.engine.packing import pack
from overopt.planning.memory import RUNTIME_MB, loading_of, memory_of
from overopt.planning.seconds import random_trees
from overopt.planning.work import Shape, Trees, Work
from overopt.training.stages import STAGES

BATCH = Trees(count=20, group=2, prompt=20, completion=6, longest=(20, 6))
CONFIG = tiny.policy().model.config
SHAPE = Shape.of(CONFIG)


def memory(chain: Chain, work: Work, **compute: Any) -> dict[str, float]:
    stage = load(STAGES, tiny.online(chain))
    stage = dataclasses.replace(stage, compute=dataclasses.replace(stage.compute, **compute))
    return {name: mb * 2**20 for name, mb in memory_of(stage, CONFIG, SHAPE, work).items()}


def test_weights_and_the_optimizer_by_hand(chain: Chain) -> None:
    work = Work(3, BATCH, policies=2, reward_models=1)
    parts = memory(chain, work)
    assert parts["weights"] == 4 * (3 * SHAPE.parameters - SHAPE.head)
    assert (parts["gradients"], parts["optimizer"]) == (4 * SHAPE.parameters, 8 * SHAPE.parameters)
    assert parts["runtime"] == RUNTIME_MB * 2**20
    scored = memory(
        chain, dataclasses.replace(work, trains_reward_model=True, batch=dataclasses.replace(BATCH, targets="none"))
    )
    assert scored["optimizer"] == 8 * (SHAPE.parameters - SHAPE.head) == 2 * scored["gradients"]


def test_under_bf16_frozen_models_hold_their_linear_maps_in_half(chain: Chain) -> None:
    """The reference and the reward model, which has no head over words; with `offload` one layer of two is there."""
    whole = memory(chain, Work(3, BATCH, policies=2, reward_models=1), precision="bf16")["weights"]
    reference = 4 * SHAPE.parameters - 2 * (SHAPE.linear + SHAPE.head)
    scorer = 4 * (SHAPE.parameters - SHAPE.head) - 2 * SHAPE.linear
    assert whole == 4 * SHAPE.parameters + reference + scorer
    work = Work(3, BATCH, policies=2, reward_models=1)
    assert memory(chain, work, precision="bf16", offload="frozen")["weights"] == whole  # on a CPU it changes nothing
    stage = dataclasses.replace(load(STAGES, tiny.online(chain)), compute=Compute(precision="bf16", offload="frozen"))
    resting = memory_of(stage, CONFIG, SHAPE, work, on_gpu=True)["weights"] * 2**20
    assert resting == 4 * SHAPE.parameters + (reference + scorer) / 2


def test_models_are_loaded_whole_one_after_another(chain: Chain) -> None:
    """A frozen policy in half is there when the reward model comes in float32; so is a reference that is named."""
    lora = dataclasses.replace(load(STAGES, tiny.online(chain, trainable="lora")), compute=Compute(precision="bf16"))
    work, half = Work(3, BATCH, policies=1, reward_models=1), 4 * SHAPE.parameters - 2 * (SHAPE.linear + SHAPE.head)
    assert loading_of(lora, SHAPE, work) * 2**20 == half + 4 * SHAPE.parameters
    named = dataclasses.replace(work, policies=2)
    assert loading_of(lora, SHAPE, named) * 2**20 == 2 * half + 4 * SHAPE.parameters
    alone = dataclasses.replace(work, reward_models=0)
    assert loading_of(lora, SHAPE, alone) * 2**20 == 4 * SHAPE.parameters


def test_lora_trains_little(chain: Chain) -> None:
    """Rank 2 on all four maps of two layers: 2 (in + out) numbers each, with a gradient and two moments."""
    pytest.importorskip("peft")
    stage = load(STAGES, tiny.online(chain, trainable={"name": "lora", "rank": 2}))
    parts = {n: mb * 2**20 for n, mb in memory_of(stage, CONFIG, SHAPE, Work(3, BATCH, policies=1)).items()}
    adapter = 2 * 2 * ((16 + 48) + (16 + 16) + 2 * (16 + 64))
    assert parts["weights"] == 4 * (SHAPE.parameters + adapter)
    assert (parts["optimizer"], parts["gradients"]) == (8 * adapter, 4 * adapter)


def test_activations_are_those_of_a_real_update(chain: Chain) -> None:
    policy = tiny.policy()
    packed = pack(random_trees(BATCH, SHAPE.vocabulary))
    peak = peak_bytes(lambda: target_logps(policy, policy.hidden(packed), packed, 1.0).sum().backward())
    parts = memory(chain, Work(3, BATCH, policies=1))
    assert parts["gradients"] + parts["activations"] == pytest.approx(peak, rel=0.05)


def test_smaller_micro_batches_and_checkpointed_layers_hold_less(chain: Chain) -> None:
    work = Work(3, dataclasses.replace(BATCH, count=40), policies=1)
    full = memory(chain, work)["activations"]
    assert memory(chain, work, token_budget=200)["activations"] < full / 3
    assert memory(chain, work, gradient_checkpointing="layers")["activations"] < full


def test_the_largest_phase_counts(chain: Chain) -> None:
    """Many long prompts that are sampled from hold more than a small update: keys, values, and the draws."""
    answers = Trees(count=500, group=1, prompt=100, completion=24, longest=(100, 24))
    parts = memory(chain, Work(3, BATCH, policies=1, answers=answers))
    assert "gradients" not in parts and parts["sampling"] > 500 * (123 * (2 * 32 * 4 + 8) + 28 * 142)
    passes = memory(chain, Work(3, BATCH, policies=1, first=[dataclasses.replace(BATCH, count=10_000)]))
    assert passes["passes without gradient"] > 2000 * 32 * 16 * 4


def test_half_precision_halves_activations(chain: Chain) -> None:
    work = Work(3, dataclasses.replace(BATCH, count=100), policies=1)
    full, half = (memory(chain, work, precision=p) for p in ("fp32", "bf16"))
    assert half["gradients"] == full["gradients"]
    assert 0.4 < half["activations"] / full["activations"] < 0.8
    assert torch.get_default_dtype() == torch.float32
