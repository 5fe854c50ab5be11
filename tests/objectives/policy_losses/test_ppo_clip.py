from __future__ import annotations

from math import log

import policy_updates as finite
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_updates import random_update, rows, with_logp
from pydantic import ValidationError
from torch import Tensor

from overopt.objectives.policy_losses import PPOClip
from overopt.types import PolicyUpdate


def update(log_ratio: list[float], advantage: list[float]) -> PolicyUpdate:
    """Rows of two tokens whose sequence log-ratio is as given; the second token is padding in the last row."""
    old_BT = torch.tensor([[-1.0, -2.0]] * len(log_ratio), dtype=torch.float64)
    mask_BT = torch.ones_like(old_BT, dtype=torch.bool)
    old_BT[-1, 1] = 0.0
    mask_BT[-1, 1] = False
    new_BT = old_BT.clone()
    new_BT[:, 0] += torch.tensor(log_ratio, dtype=torch.float64)
    return PolicyUpdate(new_BT.requires_grad_(), old_BT, mask_BT, torch.tensor(advantage, dtype=torch.float64))


def gradient(loss_B: Tensor, of: Tensor) -> Tensor:
    loss_B.sum().backward()
    assert of.grad is not None
    return of.grad


def test_ppo_clip_by_hand_on_both_signs() -> None:
    """Ratios 3/2 and 1/2 against the range [0.8, 1.2]."""
    batch = update([log(1.5), log(1.5), log(0.5), log(0.5)], [2.0, -2.0, 2.0, -2.0])
    loss_B = PPOClip(clip=0.2)(batch)
    assert loss_B.tolist() == pytest.approx([-2.4, 3.0, -1.0, 1.6])
    assert PPOClip(clip=0.2).clipped(batch).tolist() == [True, False, False, True]
    # where the clip holds nothing moves; elsewhere d loss / d logp = -A rho
    assert gradient(loss_B, batch.logp_BT)[:, 0].tolist() == pytest.approx([0.0, 3.0, -1.0, 0.0])


def test_within_the_range_nothing_is_clipped() -> None:
    batch = update([log(1.1), log(0.9)], [1.0, -1.0])
    assert PPOClip()(batch).tolist() == pytest.approx([-1.1, 0.9])
    assert PPOClip().clipped(batch).tolist() == [False, False]


@pytest.mark.parametrize("clip", [1e-4, 0.2, 2.0])
def test_at_ratio_one_the_gradient_is_reinforce(clip: float) -> None:
    advantages = [1.5, -0.5, 0.0]
    batch = update([0.0, 0.0, 0.0], advantages)
    loss_B = PPOClip(clip=clip)(batch)
    assert loss_B.tolist() == [-1.5, 0.5, 0.0]
    assert PPOClip(clip=clip).clipped(batch).tolist() == [False, False, False]
    expected_BT = torch.tensor([[-a, -a] for a in advantages], dtype=torch.float64)
    assert torch.equal(gradient(loss_B, batch.logp_BT), expected_BT)


def test_the_ratio_is_one_per_sequence() -> None:
    """Two tokens each within the range leave it together: 1.15^2 > 1.2."""
    old_BT = torch.zeros(1, 2, dtype=torch.float64)
    batch = PolicyUpdate(
        old_BT + log(1.15), old_BT, torch.ones(1, 2, dtype=torch.bool), torch.ones(1, dtype=torch.float64)
    )
    assert PPOClip()(batch).tolist() == pytest.approx([-1.2])
    assert PPOClip().clipped(batch).tolist() == [True]


def test_ppo_clip_is_silent_where_it_clips_however_far_the_policy_has_moved() -> None:
    logp_BT = torch.tensor([[200.0], [200.0]], requires_grad=True)
    update = PolicyUpdate(
        logp_BT=logp_BT,
        old_logp_BT=torch.zeros(2, 1),
        mask_BT=torch.ones(2, 1, dtype=torch.bool),
        advantage_B=torch.tensor([1.0, 0.0]),
    )
    loss_B = PPOClip(clip=0.2)(update)
    loss_B.sum().backward()
    assert loss_B.tolist() == pytest.approx([-1.2, 0.0])
    assert logp_BT.grad is not None and logp_BT.grad.tolist() == [[0.0], [0.0]]


@pytest.mark.parametrize("value", [0.0, -0.2, float("nan")])
def test_meaningless_settings_are_refused(value: float) -> None:
    with pytest.raises(ValidationError, match="clip"):
        PPOClip(clip=value)


def test_the_upper_side_may_be_wider() -> None:
    batch = update([log(1.5), log(1.5)], [2.0, -2.0])
    assert PPOClip(clip=0.2, clip_high=0.3)(batch).tolist() == pytest.approx([-2.6, 3.0])
    with pytest.raises(ValidationError, match="clip_high"):
        PPOClip(clip_high=0.0)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_gradient_by_finite_differences(seed: int) -> None:
    batch = random_update([3, 1, 2], seed)

    def total(logp_BT: Tensor) -> Tensor:
        return PPOClip(clip=0.2)(with_logp(batch, logp_BT * batch.mask_BT)).sum()

    torch.testing.assert_close(
        finite.gradient(total, batch.logp_BT), finite.differences(total, batch.logp_BT), rtol=1e-5, atol=1e-7
    )


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=4).filter(any), st.integers(0, 3), st.integers(0, 100))
def test_padding_and_row_order_change_nothing(widths: list[int], padding: int, seed: int) -> None:
    batch = random_update(widths, seed)
    torch.testing.assert_close(PPOClip()(random_update(widths, seed, padding)), PPOClip()(batch))
    order = list(range(len(widths)))[::-1]
    torch.testing.assert_close(PPOClip()(rows(batch, order)), PPOClip()(batch)[order])
