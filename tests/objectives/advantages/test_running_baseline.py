from __future__ import annotations

import json

import pytest
import torch
from pydantic import ValidationError

from overopt.objectives.advantages import RunningBaseline
from overopt.objectives.state import call, initial_state
from overopt.types import Rewards


def rewards(*row: float) -> Rewards:
    reward_PG = torch.tensor([row], dtype=torch.float64)
    return Rewards(reward_PG, torch.ones_like(reward_PG))


def test_by_hand() -> None:
    """Baselines 1, then 0.5 * 1 + 0.5 * 3 = 2, then 0.5 * 2 + 0.5 * 0 = 1."""
    baseline = RunningBaseline(decay=0.5, initial=1.0)
    state = initial_state(baseline)
    first, state = call(baseline, rewards(2.0, 4.0), state)
    second, state = call(baseline, rewards(0.0), state)
    assert first.tolist() == [[1.0, 3.0]]
    assert second.tolist() == [[-2.0]]
    assert state == {"baseline": 1.0}


def test_a_batch_is_never_in_its_own_baseline() -> None:
    """Else the gradient would be biased: the advantage moves one for one with the reward."""
    baseline = RunningBaseline()
    low, _ = baseline(rewards(1.0, 5.0), {"baseline": 0.3})
    high, _ = baseline(rewards(2.0, 6.0), {"baseline": 0.3})
    assert (high - low).tolist() == [[1.0, 1.0]]


def test_it_converges_to_the_mean_of_constant_rewards_and_its_state_is_json() -> None:
    baseline = RunningBaseline(decay=0.9)
    state = initial_state(baseline)
    for _ in range(200):
        advantage, state = call(baseline, rewards(3.0, 3.0), json.loads(json.dumps(state)))
    assert advantage.abs().max() < 1e-8


def test_bad_settings() -> None:
    for decay in (-0.1, 1.0):
        with pytest.raises(ValidationError, match="decay"):
            RunningBaseline(decay=decay)
    assert RunningBaseline.minimum_samples == 1
