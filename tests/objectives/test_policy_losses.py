from __future__ import annotations

from math import log

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from overopt.objectives.policy_losses import LCO, PPOClip
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
        logits_MV=new_MV,
        old_logits_MV=old_MV,
        token_M=torch.tensor(token),
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


def test_what_each_loss_needs_and_clips() -> None:
    assert PPOClip.needs == frozenset()
    assert LCO.needs == {"logits"}
    assert LCO().clipped(lco_update(OLD[None], OLD[None], [0], [1.0], [1])) is None


@pytest.mark.parametrize("value", [0.0, -0.2, float("nan")])
def test_meaningless_settings_are_refused(value: float) -> None:
    with pytest.raises(ValidationError):
        PPOClip(clip=value)
    with pytest.raises(ValidationError):
        LCO(beta_positive=value)


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
