from __future__ import annotations

import pytest
from preferences import ranking, sums

from overopt.objectives.pair_losses import SLiCHF


def test_loss_by_hand() -> None:
    """Gaps 2 and -2 against a margin of 1, and a tenth of the chosen's surprisal."""
    batch = ranking(sums([-6.0, -8.0], [3, 3]), sums([-8.0, -6.0], [2, 2]))
    assert SLiCHF()(batch).tolist() == pytest.approx([0 + 0.6, 3 + 0.8])
    assert SLiCHF(delta=2.5, nll_weight=0.0)(batch).tolist() == pytest.approx([0.5, 4.5])
    assert [r.tolist() for r in SLiCHF().reward(batch)] == [[-6.0, -8.0], [-8.0, -6.0]]
