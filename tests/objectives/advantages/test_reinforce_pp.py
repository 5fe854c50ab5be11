from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from overopt.objectives.advantages import ReinforcePP
from overopt.types import Rewards


def rewards(rows: list[list[float]], lengths: list[list[int]] | None = None) -> Rewards:
    reward_PG = torch.tensor(rows, dtype=torch.float64)
    length_PG = torch.ones(reward_PG.shape, dtype=torch.long) if lengths is None else torch.tensor(lengths)
    return Rewards(reward_PG, length_PG)


def test_completions_by_hand() -> None:
    """Mean 3, variance (4 + 0 + 1 + 9) / 3, whatever the prompts."""
    advantage_PG = ReinforcePP(weight="completion", eps=1e-12)(rewards([[1.0, 3.0], [2.0, 6.0]]))
    spread = (14 / 3) ** 0.5
    assert advantage_PG.tolist() == [pytest.approx([-2 / spread, 0.0]), pytest.approx([-1 / spread, 3 / spread])]


def test_tokens_by_hand() -> None:
    """Tokens 0, 0, 0, 4: mean 1, variance 12 / 3."""
    advantage_PG = ReinforcePP(eps=1e-12)(rewards([[0.0, 4.0]], [[3, 1]]))
    assert advantage_PG.tolist() == [pytest.approx([-0.5, 1.5])]


def test_tokens_are_whitened_as_if_each_were_written_out() -> None:
    lengths = [[3, 1], [2, 5]]
    row = [[0.3, -1.2], [2.0, 0.4]]
    token = torch.tensor(
        [r for rs, ls in zip(row, lengths, strict=True) for r, n in zip(rs, ls, strict=True) for _ in range(n)]
    )
    mean, std = float(token.mean()), float(token.std())
    expected = [pytest.approx([(r - mean) / std for r in rs], rel=1e-5) for rs in row]
    assert ReinforcePP()(rewards(row, lengths)).tolist() == expected


def test_equal_rewards_have_no_advantage() -> None:
    assert ReinforcePP()(rewards([[0.5, 0.5], [0.5, 0.5]], [[1, 2], [3, 4]])).abs().max() < 1e-9


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-10, 10), min_size=2, max_size=8), st.floats(-5, 5), st.floats(0.5, 20))
def test_shift_scale_and_order_change_nothing(row: list[float], shift: float, scale: float) -> None:
    assume(max(row) - min(row) > 0.1)
    whiten = ReinforcePP(eps=1e-12)
    advantage_PG = whiten(rewards([row]))
    moved_PG = whiten(rewards([[scale * r + shift for r in row]]))
    torch.testing.assert_close(moved_PG, advantage_PG, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(whiten(rewards([row[::-1]])).flip(1), advantage_PG)
    torch.testing.assert_close(whiten(rewards([[r] for r in row])).flatten(), advantage_PG.flatten())


def test_a_batch_of_one_has_no_spread() -> None:
    assert ReinforcePP.minimum_batch == 2
    with pytest.raises(ValueError, match="ReinforcePP needs at least 2 completions in a batch"):
        ReinforcePP()(rewards([[1.0]]))
