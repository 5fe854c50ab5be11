from __future__ import annotations

import pytest
import torch

from overopt.objectives.advantages import ReMax
from overopt.types import Rewards


def test_by_hand() -> None:
    reward_PG = torch.tensor([[1.0, 2.0], [0.0, -1.0]])
    rewards = Rewards(reward_PG, torch.ones_like(reward_PG), greedy_P=torch.tensor([1.5, -1.0]))
    assert ReMax()(rewards).tolist() == [[-0.5, 0.5], [1.0, 0.0]]


def test_one_sample_will_do() -> None:
    assert ReMax.minimum_samples == 1
    assert ReMax()(Rewards(torch.tensor([[2.0]]), torch.ones(1, 1), torch.tensor([0.5]))).tolist() == [[1.5]]


def test_without_greedy_rewards_it_says_so() -> None:
    assert ReMax.needs == {"greedy"}
    with pytest.raises(ValueError, match="greedy"):
        ReMax()(Rewards(torch.zeros(1, 1), torch.ones(1, 1)))
