from __future__ import annotations

import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tiny
import torch

from overopt.engine.optimizer import SGD, AdamW, Constant, Optimizer
from overopt.models.policy import Policy
from overopt.training.run.trainer_state import TrainerState


def made(settings: Any = None, **extra: Any) -> TrainerState:
    policy = tiny.policy(**extra)
    optimizer = Optimizer(policy.parameters(), settings or AdamW(), 1e-2, Constant(), 10)
    return TrainerState(policy, optimizer, iter(range(10)), SimpleNamespace(baseline_outcomes=None))  # type: ignore[arg-type]


def descend(trainer: TrainerState, step: int) -> None:
    """An update whose gradient draws from the global stream, as a plug-in's might."""
    for parameter in trainer.optimizer.parameters:
        parameter.grad = torch.randn_like(parameter) + random.random() + np.random.rand()
    trainer.optimizer.step(step, None)
    next(trainer.stream)


def tensors(trainer: TrainerState) -> dict[str, torch.Tensor]:
    return {
        name: p.detach().clone() for name, p in trainer.model.model.named_parameters()
    } | trainer.optimizer.tensors()


@pytest.mark.parametrize("settings", [AdamW(), SGD(momentum=0.9), SGD()], ids=["adamw", "momentum", "plain"])
@pytest.mark.parametrize("architecture", ["gpt_neox", "llama"])
@pytest.mark.parametrize("tied", [True, False])
def test_it_goes_on_to_the_last_bit(tmp_path: Path, settings: Any, architecture: str, tied: bool) -> None:
    first = made(settings, architecture=architecture, tie_word_embeddings=tied)
    first.begin(7)
    descend(first, 1)
    descend(first, 2)
    first.objectives = {"loss": {"queue": [0.1, 1e-300]}}
    assert first.evaluator is not None
    first.evaluator.baseline_outcomes = [1.0, 0.5, None]
    first.save(tmp_path / "tensors.safetensors", 2)
    document = first.document()
    descend(first, 3)

    second = made(settings, architecture=architecture, tie_word_embeddings=tied)
    second.restore(2, tmp_path / "tensors.safetensors", document)
    assert second.evaluator is not None
    assert (second.objectives, second.evaluator.baseline_outcomes) == (first.objectives, [1.0, 0.5, None])
    descend(second, 3)
    assert next(second.stream) == next(first.stream) == 3
    one, other = tensors(first), tensors(second)
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    policy = second.model
    assert isinstance(policy, Policy)
    assert (policy.head.weight is policy.model.get_input_embeddings().weight) == tied


def test_before_the_first_step_only_the_streams_are_kept(tmp_path: Path) -> None:
    trainer = made()
    trainer.begin(3)
    trainer.save(tmp_path / "tensors.safetensors", 0)
    assert (tmp_path / "tensors.safetensors").stat().st_size < 10_000 < trainer.size()
    document = trainer.document()
    drawn = (float(torch.rand(())), random.random(), np.random.rand())
    trainer.restore(0, tmp_path / "tensors.safetensors", document)
    assert (float(torch.rand(())), random.random(), np.random.rand()) == drawn


def test_a_head_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """A checkpoint without the head would let it keep its first weights, and train on."""
    trainer = made(tie_word_embeddings=True)
    trainer.save(tmp_path / "tensors.safetensors", 1)
    with pytest.raises(ValueError, match=r"the saved model has other tensors: \['(lm_head|embed_out).weight'\]"):
        made(tie_word_embeddings=False).restore(1, tmp_path / "tensors.safetensors", trainer.document())


def test_sizes_are_bytes(tmp_path: Path) -> None:
    trainer = made()
    count = sum(p.numel() for p in trainer.model.parameters())
    assert trainer.model_size() >= 4 * count
    before = trainer.size()
    descend(trainer, 1)
    assert trainer.size() - before == 8 * count + 4 * len(trainer.model.parameters())  # two moments, and a step each
