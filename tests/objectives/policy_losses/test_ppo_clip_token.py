from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_updates import differences, gradient, random_update, rows, with_logp
from pydantic import ValidationError

from overopt.objectives.policy_losses import PPOClipToken
from overopt.types import PolicyUpdate


def update() -> PolicyUpdate:
    """Ratios 1.5 and 0.5 with advantage 2; a single ratio 1.1 with advantage -1."""
    ratio_BT = torch.tensor([[1.5, 0.5], [1.1, 1.0]], dtype=torch.float64)
    old_BT = torch.tensor([[-1.0, -2.0], [-0.5, 0.0]], dtype=torch.float64)
    mask_BT = torch.tensor([[True, True], [True, False]])
    return PolicyUpdate(old_BT + ratio_BT.log(), old_BT, mask_BT, torch.tensor([2.0, -1.0], dtype=torch.float64))


def test_by_hand() -> None:
    """Tokens -2.4 (cut from -3), -1 (the plain term is the larger one) and 1.1; three tokens over two rows."""
    assert PPOClipToken(aggregation="sequence_sum")(update()).tolist() == pytest.approx([-3.4, 1.1])
    assert PPOClipToken(aggregation="sequence_mean")(update()).tolist() == pytest.approx([-1.7, 1.1])
    assert PPOClipToken()(update()).tolist() == pytest.approx([-3.4 / 1.5, 1.1 / 1.5])
    assert PPOClipToken(aggregation="fixed_length")(update()).tolist() == pytest.approx([-1.7, 0.55])
    assert PPOClipToken().clipped(update()).tolist() == pytest.approx([0.5, 0.0])


def test_the_upper_side_may_be_wider() -> None:
    assert PPOClipToken(clip_high=0.28, aggregation="sequence_sum")(update()).tolist() == pytest.approx([-3.56, 1.1])
    assert PPOClipToken(clip_high=0.6).clipped(update()).tolist() == [0.0, 0.0]


def test_at_ratio_one_the_gradient_is_reinforce() -> None:
    old = random_update([3, 1, 2])
    same = with_logp(old, old.old_logp_BT)
    loss = PPOClipToken(aggregation="sequence_sum")
    slope_BT = gradient(lambda logp_BT: loss(with_logp(same, logp_BT)).sum(), same.logp_BT)
    torch.testing.assert_close(slope_BT, -same.advantage_B[:, None] * same.mask_BT)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.sampled_from(["sequence_sum", "sequence_mean", "token_mean", "fixed_length"]))
def test_gradient_by_finite_differences(seed: int, aggregation: str) -> None:
    batch = random_update([3, 1, 2], seed)
    loss = PPOClipToken(clip=0.2, aggregation=aggregation)

    def total(logp_BT: torch.Tensor) -> torch.Tensor:
        return loss(with_logp(batch, logp_BT)).sum()

    slope_BT, differences_BT = gradient(total, batch.logp_BT), differences(total, batch.logp_BT)
    torch.testing.assert_close(slope_BT * batch.mask_BT, differences_BT * batch.mask_BT, rtol=1e-5, atol=1e-7)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=4).filter(any), st.integers(0, 3), st.integers(0, 100))
def test_padding_and_row_order_change_nothing(widths: list[int], padding: int, seed: int) -> None:
    loss, batch = PPOClipToken(), random_update(widths, seed)
    torch.testing.assert_close(loss(random_update(widths, seed, padding)), loss(batch))
    order = list(range(len(widths)))[::-1]
    torch.testing.assert_close(loss(rows(batch, order)), loss(batch)[order])


def test_a_token_that_became_impossible_is_finite() -> None:
    batch = update()
    batch.logp_BT[0, 0] = -torch.inf
    assert PPOClipToken()(batch).isfinite().all()


def test_bad_settings() -> None:
    for field, value in [("clip", 0.0), ("clip", -0.2), ("clip_high", 0.0), ("aggregation", "mean")]:
        with pytest.raises(ValidationError, match=field):
            PPOClipToken(**{field: value})
