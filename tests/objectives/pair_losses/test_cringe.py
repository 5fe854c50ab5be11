from __future__ import annotations

import pytest
import torch
from preferences import from_logits, ranking

from overopt.objectives.pair_losses import Cringe
from overopt.types import PreferenceScores

ROW = torch.tensor([2.0, 1.0, 0.0, -1.0], dtype=torch.float64)


def pairs() -> PreferenceScores:
    """Chosen tokens 0; 0, 0, 0. Rejected 0, 1; 0, 1, 1, 1."""
    chosen = from_logits([ROW.repeat(1, 1), ROW.repeat(3, 1)], [[0], [0, 0, 0]])
    return ranking(chosen, from_logits([ROW.repeat(2, 1), ROW.repeat(4, 1)], [[0, 1], [0, 1, 1, 1]]))


def test_loss_by_hand() -> None:
    """Chosen tokens log(e^2 + e + 1 + 1/e) - 2 = 0.4401897, rejected 1.5320903, 0.4324646; mean lengths 2 and 3."""
    rejected = [(1.5320903 + 0.4324646) / 3, (1.5320903 + 3 * 0.4324646) / 3]
    by_hand = [0.4401897 / 2 + 0.5 * rejected[0], 3 * 0.4401897 / 2 + 0.5 * rejected[1]]
    assert Cringe(cringe_weight=0.5, top_k=2)(pairs()).tolist() == pytest.approx(by_hand, abs=1e-6)
    assert Cringe(cringe_weight=0.0)(pairs()).tolist() == pytest.approx([0.4401897 / 2, 3 * 0.4401897 / 2], abs=1e-6)


def test_rewards_are_means_per_token() -> None:
    chosen_P, rejected_P = Cringe().reward(pairs())
    assert chosen_P.tolist() == pytest.approx([-0.4401897] * 2, abs=1e-6)
    assert rejected_P.tolist() == pytest.approx([-0.4401897 - 1 / 2, -0.4401897 - 3 / 4], abs=1e-6)
