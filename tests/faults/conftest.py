"""Chains of stages for models of several kinds, each made once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import tiny
import torch
from tiny import Chain

from faults import MODELS
from overopt.training.train import train


@pytest.fixture(scope="session")
def chain_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Chain]:
    made: dict[str, Chain] = {}

    def make(name: str) -> Chain:
        torch.set_num_threads(1)  # more would not survive a fork
        if name not in made:
            folder: Path = tmp_path_factory.mktemp("chain")
            chain = Chain(folder / "sft", folder / "reward-model")
            model = tiny.MODEL | MODELS[name]
            train(tiny.sft(model=model, steps=40, lr=2e-2, checkpoint_every=40), chain.policy)
            train(tiny.reward_model(chain), chain.reward_model)
            made[name] = chain
        return made[name]

    return make
