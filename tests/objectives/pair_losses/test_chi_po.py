from __future__ import annotations

from math import exp, log

import pytest
from preferences import ranking, sums

from overopt.objectives.pair_losses import ChiPO
from overopt.types import PreferenceScores


def pair(chosen: float, rejected: float) -> PreferenceScores:
    """With these log-ratios."""
    return ranking(sums([chosen - 9], [2], [-9.0]), sums([rejected - 9], [3], [-9.0]))


def test_loss_and_rewards_by_hand() -> None:
    """phi(0) = 1 and phi(log 1/2) = 1/2 - log 2: the margin is 1/2 + log 2."""
    made = [r.item() for r in ChiPO(beta=2.0).reward(pair(0.0, -log(2)))]
    assert made == pytest.approx([2.0, 2 * (0.5 - log(2))])
    assert ChiPO(beta=1.0)(pair(0.0, -log(2))).tolist() == pytest.approx([0.2648729], abs=1e-6)


def test_at_initialization_it_is_log_2() -> None:
    assert ChiPO()(pair(0.0, 0.0)).tolist() == pytest.approx([log(2)])


def test_the_margin_is_clipped_to_twice_the_range() -> None:
    clipped = ChiPO(beta=1.0, reward_range=0.5)
    assert clipped(pair(0.0, -log(2))).tolist() == pytest.approx([0.3132617], abs=1e-6)  # log(1 + e^-1)
    assert clipped(pair(-5.0, 5.0)).tolist() == pytest.approx([1.3132617], abs=1e-6)
    assert ChiPO(beta=1.0, reward_range=5.0)(pair(0.0, -log(2))).tolist() == pytest.approx([0.2648729], abs=1e-6)


def test_the_exponential_is_held_and_the_logarithm_goes_on() -> None:
    reward = ChiPO(beta=1.0, log_ratio_limit=2.0).reward(pair(7.0, 1.0))
    assert [r.item() for r in reward] == pytest.approx([exp(2) + 7, exp(1) + 1])
