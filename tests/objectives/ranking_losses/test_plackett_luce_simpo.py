from __future__ import annotations

import pytest
from preferences import ranking, sums

from overopt.objectives.ranking_losses import PlackettLuceSimPO
from overopt.types import PreferenceScores


def three() -> PreferenceScores:
    """Means per token -1, -2, -3."""
    return ranking(sums([-2.0], [2]), sums([-2.0], [1]), sums([-9.0], [3]))


def test_loss_by_hand() -> None:
    """log(1 + e^-1 + e^-2) + log(1 + e^-1), and with margin 1: log(1 + 1 + e^-1) + log 2."""
    assert PlackettLuceSimPO(alpha=1.0, gamma=0.0)(three()).tolist() == pytest.approx([0.7208677], abs=1e-6)
    assert PlackettLuceSimPO(alpha=1.0, gamma=1.0)(three()).tolist() == pytest.approx([1.5551420], abs=1e-6)


def test_sums_instead_of_means() -> None:
    """Sums -2, -2, -9 over 2: log(2 + e^-3.5) + log(1 + e^-3.5)."""
    loss = PlackettLuceSimPO(alpha=0.5, gamma=0.0, length="sum")
    assert loss(three()).tolist() == pytest.approx([0.7081330 + 0.0297504], abs=1e-6)
    assert [r.item() for r in loss.reward(three())] == [-1.0, -4.5]
    assert [r.item() for r in PlackettLuceSimPO().reward(three())] == [-2.0, -6.0]
