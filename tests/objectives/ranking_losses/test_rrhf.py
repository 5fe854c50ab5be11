from __future__ import annotations

import pytest
from preferences import ranking, sums

from overopt.objectives.ranking_losses import RRHF
from overopt.types import PreferenceScores


def three() -> PreferenceScores:
    """Means per token -2, -1, -3: the second is likelier than the better first."""
    return ranking(sums([-4.0], [2]), sums([-1.0], [1]), sums([-9.0], [3]))


def test_loss_by_hand() -> None:
    assert RRHF()(three()).tolist() == pytest.approx([1.0 + 2.0])
    assert RRHF(sft_weight=0.5)(three()).tolist() == pytest.approx([1.0 + 1.0])


def test_the_power_of_the_length() -> None:
    """Sums -4, -1, -9: the first loses 3 to the second. Square roots: -2.8284271, -1, -5.1961524."""
    assert RRHF(length_power=0.0, sft_weight=0.0)(three()).tolist() == pytest.approx([3.0])
    assert RRHF(length_power=0.5, sft_weight=0.0)(three()).tolist() == pytest.approx([1.8284271], abs=1e-6)


def test_every_pair_out_of_order_counts() -> None:
    backwards = ranking(sums([-9.0], [3]), sums([-4.0], [2]), sums([-1.0], [1]))
    assert RRHF(sft_weight=0.0)(backwards).tolist() == pytest.approx([1 + 2 + 1])
