from __future__ import annotations

from math import log

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_updates import random_update, rows
from pydantic import ValidationError
from torch import Tensor

from overopt.objectives.policy_losses import LCO
from overopt.types import Logits, PolicyUpdate


def lco_update(
    old_MV: Tensor, new_MV: Tensor, token: list[int], advantage: list[float], widths: list[int]
) -> PolicyUpdate:
    mask_BT = torch.arange(max(widths)) < torch.tensor(widths)[:, None]
    empty_BT = torch.zeros(mask_BT.shape, dtype=old_MV.dtype)
    return PolicyUpdate(
        logp_BT=empty_BT,
        old_logp_BT=empty_BT,
        mask_BT=mask_BT,
        advantage_B=torch.tensor(advantage, dtype=old_MV.dtype),
        logits=Logits(new_MV, torch.tensor(token), mask_BT.nonzero()[:, 0], old_MV=old_MV),
    )


OLD = torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64).log()


def test_lco_by_hand_for_both_signs() -> None:
    """Token 0 of (1/2, 1/4, 1/4): its advantage is A/2, the others' -A/2.

    A = 1, beta 1: q(0) = sigma(1) = 0.7310586. A = -1, beta 2: q(0) = sigma(-1/2) = 0.3775407.
    """
    old_MV = OLD.repeat(2, 1)
    loss_B = LCO(beta_positive=1.0, beta_negative=2.0)(lco_update(old_MV, old_MV, [0, 0], [1.0, -1.0], [1, 1]))
    by_hand = [
        0.7310586 * log(0.7310586 / 0.5) + 0.2689414 * log(0.2689414 / 0.5),
        0.3775407 * log(0.3775407 / 0.5) + 0.6224593 * log(0.6224593 / 0.5),
    ]
    assert by_hand == pytest.approx([0.1109441, 0.0302998], abs=1e-6)
    assert loss_B.tolist() == pytest.approx(by_hand, abs=1e-6)


def test_lco_bounds_the_push_on_others_when_the_sampled_token_was_nearly_certain() -> None:
    """1 - 0.95 is below 0.1: the others get -pi A / 0.1 = -0.3 and -0.2, not -0.6 and -0.4."""
    old_MV = torch.tensor([[0.95, 0.03, 0.02]], dtype=torch.float64).log()
    batch = lco_update(old_MV, old_MV, [0], [1.0], [1])
    q = torch.tensor([0.95, 0.03, 0.02], dtype=torch.float64) * torch.tensor([0.05, -0.3, -0.2]).double().exp()
    q = q / q.sum()
    expected = float((q * (q.log() - old_MV[0])).sum())
    assert LCO(beta_positive=1.0)(batch).tolist() == pytest.approx([expected], rel=1e-6)


def test_lco_without_advantage_is_distillation_to_the_old_policy() -> None:
    new_MV = torch.tensor([[0.125, 0.375, 0.5]], dtype=torch.float64).log()
    loss_B = LCO()(lco_update(OLD[None], new_MV, [1], [0.0], [1]))
    assert loss_B.tolist() == pytest.approx([0.4184941], abs=1e-6)  # KL(old || new)
    assert LCO()(lco_update(OLD[None], OLD[None], [1], [0.0], [1])).tolist() == pytest.approx([0.0], abs=1e-12)


def test_lco_sums_the_tokens_of_each_row() -> None:
    generator = torch.Generator().manual_seed(0)
    old_MV, new_MV = torch.randn(2, 5, 3, dtype=torch.float64, generator=generator)
    together_B = LCO()(lco_update(old_MV, new_MV, [0, 1, 2, 0, 1], [1.0, -2.0], [2, 3]))
    parts = [
        LCO()(lco_update(old_MV[m : m + 1], new_MV[m : m + 1], [m % 3], [1.0 if m < 2 else -2.0], [1])).item()
        for m in range(5)
    ]
    assert together_B.tolist() == pytest.approx([sum(parts[:2]), sum(parts[2:])])


def test_lco_gradient_by_finite_differences_and_by_formula() -> None:
    """d KL(q || softmax(z)) / dz = softmax(z) - q, and nothing flows into the old logits."""
    generator = torch.Generator().manual_seed(1)
    old_MV, new_MV = torch.randn(2, 3, 4, dtype=torch.float64, generator=generator)
    old_MV.requires_grad_()
    new_MV.requires_grad_()
    loss = LCO(beta_positive=0.5, beta_negative=3.0)

    def total(logits_MV: Tensor) -> Tensor:
        return loss(lco_update(old_MV, logits_MV, [3, 0, 2], [0.7, -0.4], [1, 2])).sum()

    total(new_MV).backward()
    assert new_MV.grad is not None and old_MV.grad is None
    step, differences = 1e-5, torch.zeros(3, 4, dtype=torch.float64)
    for m in range(3):
        for v in range(4):
            nudge = torch.zeros(3, 4, dtype=torch.float64)
            nudge[m, v] = step
            with torch.no_grad():
                differences[m, v] = (total(new_MV + nudge) - total(new_MV - nudge)) / (2 * step)
    torch.testing.assert_close(new_MV.grad, differences, rtol=1e-6, atol=1e-8)
    q_MV = new_MV.detach().softmax(-1) - new_MV.grad
    assert q_MV.sum(1).tolist() == pytest.approx([1.0, 1.0, 1.0])
    old_probability_MV = old_MV.detach().softmax(-1)
    assert q_MV[0, 3] > old_probability_MV[0, 3]  # A > 0 pulls the sampled token up
    assert q_MV[1, 0] < old_probability_MV[1, 0]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=4).filter(any), st.integers(0, 3), st.integers(0, 100))
def test_padding_and_row_order_change_nothing(widths: list[int], padding: int, seed: int) -> None:
    batch = random_update(widths, seed)
    torch.testing.assert_close(LCO()(random_update(widths, seed, padding)), LCO()(batch))
    order = list(range(len(widths)))[::-1]
    torch.testing.assert_close(LCO()(rows(batch, order)), LCO()(batch)[order])


def test_what_it_needs_and_clips() -> None:
    assert LCO.needs == {"logits", "old_logits"}
    assert LCO().clipped(lco_update(OLD[None], OLD[None], [0], [1.0], [1])) is None


@pytest.mark.parametrize("value", [0.0, -0.2, float("nan")])
def test_meaningless_settings_are_refused(value: float) -> None:
    with pytest.raises(ValidationError, match="beta_positive"):
        LCO(beta_positive=value)
