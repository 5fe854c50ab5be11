from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from overopt.config import name_of
from overopt.objectives.advantages import GroupNormalized
from overopt.types import Rewards


def rewards(rows: list[list[float]]) -> Rewards:
    reward_PG = torch.tensor(rows, dtype=torch.float64)
    return Rewards(reward_PG, torch.ones_like(reward_PG))


def test_by_hand() -> None:
    """Deviations -1, 0, 1 of a sample standard deviation of 1; two rewards 2 apart have sqrt(2)."""
    advantage_PG = GroupNormalized(eps=1e-12)(rewards([[1.0, 2.0, 3.0]]))
    assert advantage_PG.tolist() == [pytest.approx([-1.0, 0.0, 1.0])]
    advantage_PG = GroupNormalized(eps=0.5)(rewards([[1.0, 3.0]]))
    assert advantage_PG.tolist() == [pytest.approx([-1 / (2**0.5 + 0.5), 1 / (2**0.5 + 0.5)])]


def test_equal_rewards_have_no_advantage() -> None:
    """Up to rounding of the mean, which eps keeps small."""
    assert GroupNormalized()(rewards([[0.7, 0.7, 0.7], [0.0, 0.0, 0.0]])).abs().max() < 1e-9


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-10, 10), min_size=2, max_size=6), st.floats(-5, 5), st.floats(0.5, 20))
def test_shift_and_scale_change_nothing(row: list[float], shift: float, scale: float) -> None:
    assume(max(row) - min(row) > 0.1)
    advantage_PG = GroupNormalized(eps=1e-12)(rewards([row]))
    moved_PG = GroupNormalized(eps=1e-12)(rewards([[scale * r + shift for r in row]]))
    torch.testing.assert_close(moved_PG, advantage_PG, rtol=1e-6, atol=1e-8)


def test_bad_settings() -> None:
    assert name_of(GroupNormalized) == "grpo"
    for eps in (0.0, -1e-4):
        with pytest.raises(ValidationError, match="eps"):
            GroupNormalized(eps=eps)
    with pytest.raises(ValueError, match="at least 2"):
        GroupNormalized()(rewards([[1.0]]))
