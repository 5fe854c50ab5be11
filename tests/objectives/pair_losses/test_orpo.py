from __future__ import annotations

from math import log

import pytest
from preferences import ranking, scored, sums

from overopt.objectives.pair_losses import ORPO


def test_loss_by_hand() -> None:
    """Mean probabilities 1/2 and 1/5: odds 1 and 1/4, log(1 + 1/4) = 0.2231436; imitation log 2 per token."""
    batch = ranking(sums([2 * log(0.5)], [2]), sums([3 * log(0.2)], [3]))
    chosen_P, rejected_P = ORPO().reward(batch)
    assert [chosen_P.item(), rejected_P.item()] == pytest.approx([0.0, -log(4)])
    assert ORPO()(batch).tolist() == pytest.approx([0.7154615], abs=1e-6)
    assert ORPO(odds_weight=0.0)(batch).tolist() == pytest.approx([log(2)])


def test_certainty_has_finite_odds() -> None:
    sure = ranking(scored([[0.0, 0.0]]), scored([[-1.0]]))
    assert ORPO().reward(sure)[0].item() == pytest.approx(log(1e6), abs=1e-5)
    assert ORPO()(sure).isfinite().all()
