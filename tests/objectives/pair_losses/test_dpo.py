from __future__ import annotations

from math import log

import pytest
import torch
from preferences import ranking, sums, token_gradients
from pydantic import ValidationError

from overopt.objectives.pair_losses import DPO
from overopt.types import PreferenceScores


def scores(chosen: float, rejected: float, ref_chosen: float, ref_rejected: float) -> PreferenceScores:
    return ranking(sums([chosen], [3], [ref_chosen]), sums([rejected], [5], [ref_rejected]))


def test_loss_and_rewards_by_hand() -> None:
    batch = scores(-10.0, -12.0, -11.0, -11.5)
    chosen_P, rejected_P = DPO(beta=0.5).reward(batch)
    assert [chosen_P.item(), rejected_P.item()] == [0.5, -0.25]
    assert DPO(beta=0.5)(batch).tolist() == pytest.approx([0.3868711], abs=1e-6)  # log(1 + e^-0.75)


@pytest.mark.parametrize("beta", [0.05, 0.5, 5.0])
def test_at_initialization_the_loss_is_log_2(beta: float) -> None:
    assert DPO(beta=beta)(scores(-10.0, -42.0, -10.0, -42.0)).tolist() == [log(2)]


def test_gradient_by_the_formula() -> None:
    """dL/dl_w = -beta sigma(-beta (D_w - D_l)), and the opposite for the rejected one."""
    batch = scores(-10.0, -12.0, -11.0, -11.5)
    DPO(beta=0.5)(batch).sum().backward()
    weight = 0.5 * 0.3208213  # sigma(-0.75)
    assert token_gradients(batch.chosen) == [pytest.approx([-weight] * 3, abs=1e-7)]
    assert token_gradients(batch.rejected) == [pytest.approx([weight] * 5, abs=1e-7)]


def test_sums_count_and_lengths_do_not() -> None:
    batch = scores(-10.0, -12.0, -11.0, -11.5)
    other = ranking(sums([-10.0], [50], [-11.0]), sums([-12.0], [1], [-11.5]))
    assert torch.equal(DPO()(batch), DPO()(other))


def test_beta_and_needs() -> None:
    assert DPO().beta == 0.05
    assert DPO.needs == {"reference"} and DPO.separable
    with pytest.raises(ValidationError):
        DPO(beta=0.0)


def test_smoothed_labels_by_hand() -> None:
    """log(1 + e^-0.75) = 0.3868710, log(1 + e^0.75) = 1.1368710; a tenth of the labels flipped."""
    batch = scores(-10.0, -12.0, -11.0, -11.5)
    conservative, robust = (DPO(beta=0.5, label_smoothing=0.1, smoothing=how) for how in ("conservative", "robust"))
    assert conservative(batch).tolist() == pytest.approx([0.4618710], abs=1e-6)
    assert robust(batch).tolist() == pytest.approx([0.2931210], abs=1e-6)


def test_the_robust_loss_is_unbiased_under_flipped_labels() -> None:
    """Averaged over labels that are wrong a tenth of the time it is the loss of the true labels; the other is not."""
    right, wrong = scores(-10.0, -12.0, -11.0, -11.5), scores(-12.0, -10.0, -11.5, -11.0)
    robust = DPO(beta=0.5, label_smoothing=0.1, smoothing="robust")
    assert (0.9 * robust(right) + 0.1 * robust(wrong)).tolist() == pytest.approx(DPO(beta=0.5)(right).tolist())
    conservative = DPO(beta=0.5, label_smoothing=0.1)
    assert (0.9 * conservative(right) + 0.1 * conservative(wrong)).tolist() > DPO(beta=0.5)(right).tolist()
