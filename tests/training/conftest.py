"""A chain for golden values: so few steps that rounding on other processors has no time to grow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tiny import Chain


@pytest.fixture(scope="session")
def short_chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    import tiny

    from overopt.training.train import train

    folder = tmp_path_factory.mktemp("short")
    chain = tiny.Chain(folder / "sft", folder / "reward-model")
    train(tiny.sft(lr=3e-3), chain.policy)
    train(tiny.reward_model(chain, lr=1e-3, max_completion_tokens=6), chain.reward_model)
    return chain
