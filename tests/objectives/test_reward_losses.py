from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from overopt.objectives.reward_losses import BradleyTerry, PlackettLuce


def pairs(chosen: list[float], rejected: list[float]) -> torch.Tensor:
    return torch.tensor([chosen, rejected], dtype=torch.float64).T


def test_bradley_terry_by_hand() -> None:
    loss_P = BradleyTerry()(pairs([1.0, 0.0, -2.0], [0.0, 0.0, 1.0]))
    assert loss_P.tolist() == pytest.approx([0.3132617, 0.6931472, 3.0485874], abs=1e-6)


def test_margin_and_centering_by_hand() -> None:
    """log(1 + e^0) at a margin of 1, and a tenth of (2 + 1)^2."""
    score_PK = pairs([2.0], [1.0])
    assert BradleyTerry(margin=1.0)(score_PK).tolist() == pytest.approx([0.6931472], abs=1e-6)
    assert BradleyTerry(centering=0.1)(score_PK).tolist() == pytest.approx([0.3132617 + 0.9], abs=1e-6)


def test_a_common_shift_changes_nothing_and_the_gradient_is_the_other_probability() -> None:
    score_PK = pairs([1.0, -1.0], [0.0, 1.0]).requires_grad_()
    loss_P = BradleyTerry()(score_PK)
    torch.testing.assert_close(BradleyTerry()(score_PK + 7), loss_P)
    loss_P.sum().backward()
    assert score_PK.grad is not None
    assert score_PK.grad[:, 0].tolist() == pytest.approx([-0.2689414, -0.8807971], abs=1e-6)  # -sigma(-(r_w - r_l))


def test_far_apart_scores_stay_finite() -> None:
    assert BradleyTerry()(pairs([500.0, -500.0], [-500.0, 500.0])).tolist() == [0.0, 1000.0]


def test_plackett_luce_by_hand() -> None:
    """log(1 + e^-1 + e^-2) + log(1 + e^-1); with margin 1 log(2 + e^-1) + log 2; a tenth of (2 + 1 + 0)^2."""
    score_PK = torch.tensor([[2.0, 1.0, 0.0]], dtype=torch.float64)
    assert PlackettLuce()(score_PK).tolist() == pytest.approx([0.7208677], abs=1e-6)
    assert PlackettLuce(margin=1.0)(score_PK).tolist() == pytest.approx([1.5551420], abs=1e-6)
    assert PlackettLuce(centering=0.1)(score_PK).tolist() == pytest.approx([1.6208677], abs=1e-6)


@pytest.mark.parametrize("settings", [{}, {"margin": 0.7}, {"centering": 0.2}, {"margin": 0.7, "centering": 0.2}])
def test_of_pairs_it_is_bradley_terry(settings: dict[str, float]) -> None:
    score_PK = pairs([1.0, 0.0, -2.0], [0.0, 0.5, 1.0])
    torch.testing.assert_close(PlackettLuce(**settings)(score_PK), BradleyTerry(**settings)(score_PK))


@pytest.mark.parametrize("cls", [BradleyTerry, PlackettLuce])
def test_gradients_and_settings(cls: type[BradleyTerry] | type[PlackettLuce]) -> None:
    score_PK = pairs([1.0, 0.0, -2.0], [0.0, 0.5, 1.0]).requires_grad_()
    assert torch.autograd.gradcheck(cls(margin=0.3, centering=0.1), (score_PK,))
    for field in ("margin", "centering"):
        with pytest.raises(ValidationError, match=field):
            cls(**{field: -1.0})
