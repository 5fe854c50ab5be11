from __future__ import annotations

from math import log

import pytest
import torch
from preferences import ranking, sums, token_gradients
from pydantic import ValidationError
from torch import Tensor

from overopt.objectives.pair_losses import SimPO
from overopt.types import PreferenceScores


def scores(
    chosen: list[float], rejected: list[float], chosen_len: list[int], rejected_len: list[int]
) -> PreferenceScores:
    return ranking(sums(chosen, chosen_len), sums(rejected, rejected_len))


def batch() -> PreferenceScores:
    return scores([-6.0, -9.0], [-8.0, -4.0], [3, 6], [2, 4])


def test_loss_and_rewards_by_hand() -> None:
    """Means -2 and -4, -1.5 and -1: u = 2 * 2 - 0.5 = 3.5 and 2 * -0.5 - 0.5 = -1.5."""
    chosen_P, rejected_P = SimPO().reward(batch())
    assert chosen_P.tolist() == [-4.0, -3.0]
    assert rejected_P.tolist() == [-8.0, -2.0]
    assert SimPO()(batch()).tolist() == pytest.approx([0.0297504, 1.7014133], abs=1e-6)


def test_gradient_by_the_formula() -> None:
    """dL/dl_w = -sigma(-u) alpha / |y_w|; dL/dl_l = sigma(-u) alpha / |y_l|."""
    pairs = batch()
    SimPO()(pairs).sum().backward()
    weights = [0.0293122, 0.8175745]  # sigma(-3.5), sigma(1.5)
    chosen, rejected = token_gradients(pairs.chosen), token_gradients(pairs.rejected)
    assert [row[0] for row in chosen] == pytest.approx([-weights[0] * 2 / 3, -weights[1] * 2 / 6], abs=1e-6)
    assert [row[0] for row in rejected] == pytest.approx([weights[0] * 2 / 2, weights[1] * 2 / 4], abs=1e-6)


def authors_form(pairs: PreferenceScores, beta: float, gamma_beta_ratio: float) -> Tensor:
    """The parameterization of the authors' repository: -log sigma(beta (mean_w - mean_l - ratio))."""
    gap_P = pairs.chosen.mean_logp_P - pairs.rejected.mean_logp_P
    return torch.log1p(torch.exp(-beta * (gap_P - gamma_beta_ratio)))


def trl_form(pairs: PreferenceScores, beta: float, simpo_gamma: float) -> Tensor:
    """TRL's CPOTrainer subtracts gamma / beta and multiplies by beta."""
    gap_P = pairs.chosen.mean_logp_P - pairs.rejected.mean_logp_P
    return -torch.log(torch.sigmoid(beta * (gap_P - simpo_gamma / beta)))


def test_both_published_parameterizations_are_this_one() -> None:
    ours_P = SimPO(alpha=2.0, gamma=0.5)(batch())
    torch.testing.assert_close(ours_P, authors_form(batch(), beta=2.0, gamma_beta_ratio=0.25))
    torch.testing.assert_close(ours_P, trl_form(batch(), beta=2.0, simpo_gamma=0.5))
    far_P = SimPO(alpha=0.1, gamma=2.0)(batch())  # a target gap of 20 nats per token
    torch.testing.assert_close(far_P, authors_form(batch(), beta=0.1, gamma_beta_ratio=20.0))
    torch.testing.assert_close(far_P, trl_form(batch(), beta=0.1, simpo_gamma=2.0))


def test_identical_completions_without_margin_cost_log_2() -> None:
    same = scores([-6.0, -9.0], [-6.0, -9.0], [3, 6], [3, 6])
    assert SimPO(gamma=0.0)(same).tolist() == [log(2), log(2)]


def test_the_mean_counts_and_the_length_alone_does_not() -> None:
    assert torch.equal(SimPO()(scores([-6.0], [-8.0], [3], [2])), SimPO()(scores([-12.0], [-40.0], [6], [10])))


def test_settings_and_needs() -> None:
    assert (SimPO().alpha, SimPO().gamma) == (2.0, 0.5)
    assert SimPO.needs == frozenset() and SimPO.separable
    for wrong in ({"alpha": 0.0}, {"gamma": -0.1}, {"alpha": float("nan")}):
        with pytest.raises(ValidationError):
            SimPO(**wrong)
