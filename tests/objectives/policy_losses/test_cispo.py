from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_updates import gradient, random_update, rows, with_logp
from pydantic import ValidationError

from overopt.objectives.policy_losses import CISPO, Reinforce
from overopt.types import PolicyUpdate


def update() -> PolicyUpdate:
    """Ratios 8 and 0.5 with advantage 2; a single ratio 1 with advantage -1. New log-probabilities -1, -2, -0.5."""
    ratio_BT = torch.tensor([[8.0, 0.5], [1.0, 1.0]], dtype=torch.float64)
    new_BT = torch.tensor([[-1.0, -2.0], [-0.5, 0.0]], dtype=torch.float64)
    mask_BT = torch.tensor([[True, True], [True, False]])
    return PolicyUpdate(new_BT, new_BT - ratio_BT.log(), mask_BT, torch.tensor([2.0, -1.0], dtype=torch.float64))


def test_by_hand() -> None:
    """5 * 2 * 1 + 0.5 * 2 * 2 = 12, and -0.5; with a lower bound of 0.8 the second token weighs 0.8."""
    assert CISPO(aggregation="sequence_sum")(update()).tolist() == pytest.approx([12.0, -0.5])
    assert CISPO()(update()).tolist() == pytest.approx([8.0, -1 / 3])
    assert CISPO(minimum=0.8, aggregation="sequence_sum")(update()).tolist() == pytest.approx([13.2, -0.5])
    assert CISPO().clipped(update()).tolist() == [0.5, 0.0]
    assert CISPO(minimum=0.8).clipped(update()).tolist() == [1.0, 0.0]


def test_a_clipped_token_still_learns_with_its_bounded_weight() -> None:
    batch = update()
    slope_BT = gradient(lambda x: CISPO(aggregation="sequence_sum")(with_logp(batch, x)).sum(), batch.logp_BT)
    assert (slope_BT * batch.mask_BT).tolist() == [pytest.approx([-10.0, -1.0]), pytest.approx([1.0, 0.0])]


def test_on_policy_it_is_reinforce() -> None:
    batch = random_update([3, 1, 2])
    batch.old_logp_BT = batch.logp_BT
    torch.testing.assert_close(CISPO(aggregation="sequence_sum")(batch), Reinforce()(batch))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=4).filter(any), st.integers(0, 3), st.integers(0, 100))
def test_padding_and_row_order_change_nothing(widths: list[int], padding: int, seed: int) -> None:
    loss, batch = CISPO(maximum=1.1, minimum=0.9), random_update(widths, seed)
    torch.testing.assert_close(loss(random_update(widths, seed, padding)), loss(batch))
    order = list(range(len(widths)))[::-1]
    torch.testing.assert_close(loss(rows(batch, order)), loss(batch)[order])


def test_bad_settings() -> None:
    for field, value in [("maximum", 0.0), ("minimum", -0.1)]:
        with pytest.raises(ValidationError, match=field):
            CISPO(**{field: value})
    with pytest.raises(ValidationError, match=r"minimum: 6.0 is above maximum 5.0"):
        CISPO(minimum=6.0)
