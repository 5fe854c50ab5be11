from __future__ import annotations

import pytest
import torch

from overopt.objectives.reward_losses import bradley_terry


def test_bradley_terry_by_hand() -> None:
    loss_P = bradley_terry(torch.tensor([1.0, 0.0, -2.0]), torch.tensor([0.0, 0.0, 1.0]))
    assert loss_P.tolist() == pytest.approx([0.3132617, 0.6931472, 3.0485874], abs=1e-6)


def test_a_common_shift_changes_nothing_and_the_gradient_is_the_other_probability() -> None:
    chosen_P = torch.tensor([1.0, -1.0], dtype=torch.float64, requires_grad=True)
    rejected_P = torch.tensor([0.0, 1.0], dtype=torch.float64)
    loss_P = bradley_terry(chosen_P, rejected_P)
    torch.testing.assert_close(bradley_terry(chosen_P + 7, rejected_P + 7), loss_P)
    loss_P.sum().backward()
    assert chosen_P.grad is not None
    assert chosen_P.grad.tolist() == pytest.approx([-0.2689414, -0.8807971], abs=1e-6)  # -sigma(-(r_w - r_l))


def test_far_apart_scores_stay_finite() -> None:
    loss_P = bradley_terry(torch.tensor([500.0, -500.0]), torch.tensor([-500.0, 500.0]))
    assert loss_P.tolist() == [0.0, 1000.0]
