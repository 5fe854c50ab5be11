from __future__ import annotations

from math import log

import pytest
from preferences import ranking, sums

from overopt.objectives.ranking_losses import RRHF, PlackettLuceDPO, PlackettLuceSimPO
from overopt.types import PreferenceScores


def three() -> PreferenceScores:
    """Means per token -1, -2, -3."""
    return ranking(sums([-2.0], [2]), sums([-2.0], [1]), sums([-9.0], [3]))


def test_plackett_luce_simpo_loss_by_hand() -> None:
    """log(1 + e^-1 + e^-2) + log(1 + e^-1), and with margin 1: log(1 + 1 + e^-1) + log 2."""
    assert PlackettLuceSimPO(alpha=1.0, gamma=0.0)(three()).tolist() == pytest.approx([0.7208677], abs=1e-6)
    assert PlackettLuceSimPO(alpha=1.0, gamma=1.0)(three()).tolist() == pytest.approx([1.5551420], abs=1e-6)


def test_sums_instead_of_means() -> None:
    """Sums -2, -2, -9 over 2: log(2 + e^-3.5) + log(1 + e^-3.5)."""
    loss = PlackettLuceSimPO(alpha=0.5, gamma=0.0, length="sum")
    assert loss(three()).tolist() == pytest.approx([0.7081330 + 0.0297504], abs=1e-6)
    assert [r.item() for r in loss.reward(three())] == [-1.0, -4.5]
    assert [r.item() for r in PlackettLuceSimPO().reward(three())] == [-2.0, -6.0]


def test_loss_and_rewards_by_hand() -> None:
    """Log-ratios 2, 1 and 0."""
    batch = ranking(sums([-2.0], [2], [-4.0]), sums([-2.0], [1], [-3.0]), sums([-9.0], [3], [-9.0]))
    assert PlackettLuceDPO(beta=1.0)(batch).tolist() == pytest.approx([0.7208677], abs=1e-6)
    assert [r.item() for r in PlackettLuceDPO(beta=0.5).reward(batch)] == [1.0, 0.0]


@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_at_initialization_every_order_is_as_likely(ranks: int) -> None:
    same = [sums([-3.0 - k], [k + 1], [-3.0 - k]) for k in range(ranks)]
    expected = sum(log(k) for k in range(1, ranks + 1))  # log K!
    assert PlackettLuceDPO()(ranking(*same)).tolist() == pytest.approx([expected])


def rrhf_three() -> PreferenceScores:
    """Means per token -2, -1, -3: the second is likelier than the better first."""
    return ranking(sums([-4.0], [2]), sums([-1.0], [1]), sums([-9.0], [3]))


def test_rrhf_loss_by_hand() -> None:
    assert RRHF()(rrhf_three()).tolist() == pytest.approx([1.0 + 2.0])
    assert RRHF(sft_weight=0.5)(rrhf_three()).tolist() == pytest.approx([1.0 + 1.0])


def test_the_power_of_the_length() -> None:
    """Sums -4, -1, -9: the first loses 3 to the second. Square roots: -2.8284271, -1, -5.1961524."""
    assert RRHF(length_power=0.0, sft_weight=0.0)(rrhf_three()).tolist() == pytest.approx([3.0])
    assert RRHF(length_power=0.5, sft_weight=0.0)(rrhf_three()).tolist() == pytest.approx([1.8284271], abs=1e-6)


def test_every_pair_out_of_order_counts() -> None:
    backwards = ranking(sums([-9.0], [3]), sums([-4.0], [2]), sums([-1.0], [1]))
    assert RRHF(sft_weight=0.0)(backwards).tolist() == pytest.approx([1 + 2 + 1])
