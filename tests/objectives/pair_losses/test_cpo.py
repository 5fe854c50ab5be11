from __future__ import annotations

import pytest
from preferences import ranking, sums

from overopt.objectives.pair_losses import CPO


def test_loss_and_rewards_by_hand() -> None:
    """log(1 + e^-0.2) = 0.5981389 and log(1 + e^0.1) = 0.7443967; imitation 6 and 1 over the mean length 2."""
    batch = ranking(sums([-6.0, -1.0], [3, 1]), sums([-8.0, 0.0], [2, 5]))
    assert CPO(nll_weight=0.0)(batch).tolist() == pytest.approx([0.5981389, 0.7443967], abs=1e-6)
    assert CPO()(batch).tolist() == pytest.approx([3.5981389, 1.2443967], abs=1e-6)
    assert CPO(nll_weight=0.5)(batch).tolist() == pytest.approx([2.0981389, 0.9943967], abs=1e-6)
    assert [r.tolist() for r in CPO().reward(batch)] == [pytest.approx([-0.6, -0.1]), pytest.approx([-0.8, 0.0])]
