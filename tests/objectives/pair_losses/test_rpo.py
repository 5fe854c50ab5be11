from __future__ import annotations

import pytest
from preferences import ranking, sums

from overopt.objectives.pair_losses import RPO


def test_loss_by_hand() -> None:
    """DPO at a log-ratio gap of 3 and beta 0.5 is log(1 + e^-1.5) = 0.2014133; the chosen's surprisal is 6 nats."""
    batch = ranking(sums([-6.0, -6.0], [3, 1], [-7.0, -7.0]), sums([-8.0, -8.0], [2, 2], [-6.0, -6.0]))
    assert RPO(beta=0.5)(batch).tolist() == pytest.approx([0.2014133 + 0.03] * 2, abs=1e-6)
    by_token = RPO(beta=0.5, nll="token_mean", nll_weight=0.1)(batch)
    assert by_token.tolist() == pytest.approx([0.2014133 + 0.1 * 6 / 2] * 2, abs=1e-6)


def test_rewards_are_those_of_dpo() -> None:
    chosen_P, rejected_P = RPO(beta=0.5).reward(ranking(sums([-6.0], [3], [-7.0]), sums([-8.0], [2], [-6.0])))
    assert [chosen_P.item(), rejected_P.item()] == [0.5, -1.0]
