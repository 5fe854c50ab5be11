from __future__ import annotations

from math import log

import pytest
from preferences import ranking, sums

from overopt.objectives.ranking_losses import PlackettLuceDPO


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
