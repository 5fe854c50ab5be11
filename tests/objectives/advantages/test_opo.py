from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from overopt.objectives.advantages import OPO, GroupMean
from overopt.types import Rewards


def rewards(row: list[float], lengths: list[int]) -> Rewards:
    return Rewards(torch.tensor([row], dtype=torch.float64), torch.tensor([lengths]))


def test_by_hand() -> None:
    """Baseline (1 * 2 + 3 * 6) / 4 = 5."""
    assert OPO()(rewards([2.0, 6.0], [1, 3])).tolist() == [[-3.0, 1.0]]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(-10, 10), st.integers(1, 50)), min_size=2, max_size=6), st.floats(-100, 100))
def test_weighted_by_length_the_advantages_sum_to_zero_and_ignore_a_shift(
    samples: list[tuple[float, int]], shift: float
) -> None:
    row, lengths = [r for r, _ in samples], [n for _, n in samples]
    advantage_PG = OPO()(rewards(row, lengths))
    assert float((advantage_PG * torch.tensor(lengths)).sum()) == pytest.approx(0, abs=1e-9)
    moved_PG = OPO()(rewards([r + shift for r in row], lengths))
    torch.testing.assert_close(moved_PG, advantage_PG, rtol=0, atol=1e-10)


def test_with_equal_lengths_it_is_the_group_mean() -> None:
    batch = rewards([0.3, -2.0, 5.0], [7, 7, 7])
    torch.testing.assert_close(OPO()(batch), GroupMean()(batch))


def test_one_sample_has_no_baseline() -> None:
    assert OPO.minimum_samples == 2
    with pytest.raises(ValueError, match="OPO needs at least 2"):
        OPO()(rewards([1.0], [3]))


def test_empty_completions_weigh_nothing() -> None:
    assert OPO()(rewards([1.0, 2.0], [0, 0])).tolist() == [[1.0, 2.0]]
