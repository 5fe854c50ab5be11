from __future__ import annotations

import pytest
from preferences import ranking, sums

from overopt.objectives.pair_losses import IPO
from overopt.types import PreferenceScores


def pair() -> PreferenceScores:
    """Log-ratios 1 over 3 tokens and -2 over 2 tokens."""
    return ranking(sums([-6.0], [3], [-7.0]), sums([-8.0], [2], [-6.0]))


def test_loss_and_rewards_by_hand() -> None:
    """The target gap is 1 / (2 tau) = 5: (3 - 5)^2, and per token (4/3 - 5)^2."""
    assert IPO(tau=0.1)(pair()).tolist() == pytest.approx([4.0])
    assert IPO(tau=0.1, length="mean")(pair()).tolist() == pytest.approx([121 / 9])
    assert [r.item() for r in IPO(tau=0.1).reward(pair())] == pytest.approx([0.1, -0.2])
    assert [r.item() for r in IPO(tau=0.3, length="mean").reward(pair())] == pytest.approx([0.1, -0.3])


def test_the_loss_is_zero_at_the_target_and_grows_on_both_sides() -> None:
    for gap, loss in [(5.0, 0.0), (4.0, 1.0), (6.0, 1.0)]:
        at = ranking(sums([gap - 9], [2], [-9.0]), sums([-9.0], [2], [-9.0]))
        assert IPO(tau=0.1)(at).tolist() == pytest.approx([loss], abs=1e-9)
