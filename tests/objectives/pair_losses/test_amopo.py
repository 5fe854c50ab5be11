from __future__ import annotations

from math import log

import pytest
import torch
from preferences import ranking, scored, token_gradients

from overopt.objectives.pair_losses import AMoPO
from overopt.types import PreferenceScores


def one_token(chosen: float, rejected: float) -> PreferenceScores:
    return ranking(scored([[log(chosen)]]), scored([[log(rejected)]]))


def two_views() -> PreferenceScores:
    """Of single tokens, so that a draw is its mean: 0.5 + 0.25 against 0.8 + 0.2."""
    batch = one_token(0.5, 0.25)
    batch.views = (one_token(0.8, 0.2),)
    return batch


def test_loss_by_hand() -> None:
    """Weights 0.4378235 and 0.5621765 = sigma(1/4); log(1 + 1/2) = 0.4054651 and log(1 + 1/4) = 0.2231436."""
    loss_P, state = AMoPO(beta=1.0)(two_views(), {"draws": 4})
    assert loss_P.tolist() == pytest.approx([0.3029682], abs=1e-6)
    assert state == {"draws": 5}


def test_imitation_and_margin() -> None:
    loss_P, _ = AMoPO(beta=1.0, gamma=log(2), sft_weight=0.5)(two_views(), {"draws": 0})
    by_hand = 0.4378235 * 0.6931472 + 0.5621765 * 0.4054651 + 0.5 * log(2)  # margins smaller by log 2
    assert loss_P.tolist() == pytest.approx([by_hand], abs=1e-6)


def test_the_weights_have_no_gradient() -> None:
    batch = two_views()
    AMoPO(beta=1.0)(batch, {"draws": 0})[0].sum().backward()
    assert token_gradients(batch.chosen) == [pytest.approx([-0.4378235 / 3], abs=1e-6)]  # -w sigma(-log 2)
    assert token_gradients(batch.views[0].chosen) == [pytest.approx([-0.5621765 / 5], abs=1e-6)]


def test_draws_have_the_mean_and_the_deviation_of_the_token_probabilities() -> None:
    """Chosen 0.9 and 0.1 (standard deviation 0.5657), rejected 0.5: of many draws the log-odds of two views tell."""

    def view() -> PreferenceScores:
        return ranking(scored([[log(0.9), log(0.1)]]), scored([[log(0.5)]]))

    log_odds = []
    for draws in range(2000):
        weight_PD = AMoPO()._weights((view(), view()), draws)
        assert float(weight_PD.sum()) == pytest.approx(1.0)
        log_odds.append(float(torch.logit(weight_PD[0, 0])))
    drawn = torch.tensor(log_odds)
    assert float(drawn.mean()) == pytest.approx(0.0, abs=0.06)
    assert float(drawn.std()) == pytest.approx(2**0.5 * 0.5657, rel=0.05)


def test_draws_follow_seed_and_counter() -> None:
    def view() -> PreferenceScores:
        return ranking(scored([[log(0.9), log(0.1)]]), scored([[log(0.5), log(0.2)]]))

    views = (view(), view())
    first = AMoPO()._weights(views, 0)
    assert torch.equal(first, AMoPO()._weights(views, 0))
    assert not torch.equal(first, AMoPO()._weights(views, 1))
    assert not torch.equal(first, AMoPO(seed=1)._weights(views, 0))
