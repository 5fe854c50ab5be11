from __future__ import annotations

from math import log

import pytest
from preferences import ranking, scored, sums

from overopt.objectives.pair_losses import AlphaPO
from overopt.types import PreferenceScores


def pair() -> PreferenceScores:
    """Mean probabilities 1/2 and 1/5."""
    return ranking(sums([2 * log(0.5)], [2]), sums([3 * log(0.2)], [3]))


def test_rewards_by_hand() -> None:
    for alpha, rewards in [
        (1.0, [1 - 2, 1 - 5]),
        (-1.0, [0.5 - 1, 0.2 - 1]),
        (2.0, [-1.5, -12.0]),
        (0.0, [-log(2), -log(5)]),
    ]:
        made = AlphaPO(alpha=alpha, beta=0.5).reward(pair())
        assert [r.item() for r in made] == pytest.approx([0.5 * r for r in rewards])


def test_loss_by_hand() -> None:
    """log(1 + e^-(1.5 - 0.25)) and log(1 + e^-(0.15 - 0.25))."""
    assert AlphaPO(alpha=1.0, beta=0.5, gamma=0.25)(pair()).tolist() == pytest.approx([0.2519291], abs=1e-6)
    assert AlphaPO(alpha=-1.0, beta=0.5, gamma=0.25)(pair()).tolist() == pytest.approx([0.7443967], abs=1e-6)


def test_an_exponent_that_would_overflow_is_held() -> None:
    far = ranking(scored([[-1.0]]), scored([[-1e3]]))
    assert AlphaPO(alpha=1.0)(far).tolist() == [0.0]
    assert AlphaPO(alpha=1.0).reward(far)[1].item() == pytest.approx(-2.5 * 5.540622e34, rel=1e-6)  # e^80
