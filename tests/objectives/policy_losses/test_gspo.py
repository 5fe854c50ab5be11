from __future__ import annotations

from math import exp, log

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_updates import differences, gradient, random_update, rows, with_logp
from pydantic import ValidationError

from overopt.objectives.policy_losses import GSPO, PPOClip
from overopt.types import PolicyUpdate


def update() -> PolicyUpdate:
    """Ratios 1.44 and 1 of two tokens: geometric mean 1.2. A single ratio of 1.1."""
    old_BT = torch.tensor([[-1.0, -2.0], [-0.5, 0.0]], dtype=torch.float64)
    new_BT = old_BT + torch.tensor([[log(1.44), 0.0], [log(1.1), 0.0]], dtype=torch.float64)
    mask_BT = torch.tensor([[True, True], [True, False]])
    return PolicyUpdate(new_BT, old_BT, mask_BT, torch.tensor([2.0, -1.0], dtype=torch.float64))


def test_by_hand() -> None:
    assert GSPO(clip=0.1, clip_high=None)(update()).tolist() == pytest.approx([-2.2, 1.1])
    assert GSPO(clip=0.1, clip_high=None).clipped(update()).tolist() == [True, False]
    assert GSPO(clip=0.1, clip_high=0.3)(update()).tolist() == pytest.approx([-2.4, 1.1])
    assert GSPO()(update()).tolist() == pytest.approx([-2.0008, 1.1])  # the paper's 4e-4


def test_of_one_token_it_is_ppo() -> None:
    batch = random_update([1, 1, 1], seed=3)
    torch.testing.assert_close(GSPO(clip=0.2, clip_high=None)(batch), PPOClip(clip=0.2)(batch))


def test_on_policy_the_gradient_is_the_advantage_over_the_length() -> None:
    batch = random_update([3, 1, 2])
    batch.old_logp_BT = batch.logp_BT
    slope_BT = gradient(lambda logp_BT: GSPO()(with_logp(batch, logp_BT)).sum(), batch.logp_BT)
    expected_BT = -(batch.advantage_B / batch.length_B)[:, None] * batch.mask_BT
    torch.testing.assert_close(slope_BT * batch.mask_BT, expected_BT)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_gradient_by_finite_differences(seed: int) -> None:
    batch = random_update([3, 1, 2], seed)
    loss = GSPO(clip=0.05, clip_high=0.1)

    def total(logp_BT: torch.Tensor) -> torch.Tensor:
        return loss(with_logp(batch, logp_BT * batch.mask_BT)).sum()

    torch.testing.assert_close(gradient(total, batch.logp_BT), differences(total, batch.logp_BT), rtol=1e-5, atol=1e-7)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=4).filter(any), st.integers(0, 3), st.integers(0, 100))
def test_padding_and_row_order_change_nothing(widths: list[int], padding: int, seed: int) -> None:
    loss, batch = GSPO(clip=0.1), random_update(widths, seed)
    torch.testing.assert_close(loss(random_update(widths, seed, padding)), loss(batch))
    order = list(range(len(widths)))[::-1]
    torch.testing.assert_close(loss(rows(batch, order)), loss(batch)[order])


def test_finite_however_far_the_policy_has_moved() -> None:
    batch = PolicyUpdate(
        torch.tensor([[500.0], [-torch.inf]]),
        torch.zeros(2, 1),
        torch.ones(2, 1, dtype=torch.bool),
        torch.tensor([-1.0, 1.0]),
    )
    assert GSPO()(batch).tolist() == pytest.approx([exp(80), 0.0], rel=1e-4)


def test_bad_settings() -> None:
    for field in ("clip", "clip_high"):
        with pytest.raises(ValidationError, match=field):
            GSPO(**{field: 0.0})
