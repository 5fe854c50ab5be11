from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from overopt.objectives.advantages import RLOO, GroupMean
from overopt.types import Rewards


def rewards(rows: list[list[float]]) -> Rewards:
    reward_PG = torch.tensor(rows, dtype=torch.float64)
    return Rewards(reward_PG, torch.ones_like(reward_PG))


def test_by_hand() -> None:
    assert GroupMean()(rewards([[1.0, 2.0, 6.0], [0.5, 0.5, -1.0]])).tolist() == [[-2.0, -1.0, 3.0], [0.5, 0.5, -1.0]]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-10, 10), min_size=2, max_size=6), st.floats(-100, 100))
def test_a_shift_changes_nothing_and_it_is_rloo_scaled(row: list[float], shift: float) -> None:
    advantage_PG = GroupMean()(rewards([row]))
    torch.testing.assert_close(GroupMean()(rewards([[r + shift for r in row]])), advantage_PG, rtol=0, atol=1e-10)
    group = len(row)
    torch.testing.assert_close(advantage_PG, (group - 1) / group * RLOO()(rewards([row])), rtol=1e-9, atol=1e-10)


def test_one_sample_has_no_baseline() -> None:
    assert GroupMean.minimum_samples == 2
    with pytest.raises(ValueError, match="GroupMean needs at least 2"):
        GroupMean()(rewards([[1.0]]))
