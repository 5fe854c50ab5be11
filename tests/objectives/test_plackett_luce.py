from __future__ import annotations

from itertools import permutations

import pytest
import torch
import torch.nn.functional as F

from overopt.objectives.plackett_luce import plackett_luce


def rows(*values: list[float]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_by_hand() -> None:
    """log(1 + e^-1 + e^-2) + log(1 + e^-1), and with margin 1: log(1 + 1 + e^-1) + log 2."""
    assert plackett_luce(rows([2.0, 1.0, 0.0])).tolist() == pytest.approx([0.7208677], abs=1e-6)
    assert plackett_luce(rows([2.0, 1.0, 0.0]), margin=1.0).tolist() == pytest.approx([1.5551420], abs=1e-6)


def test_the_probabilities_of_all_rankings_sum_to_one() -> None:
    score = [0.3, -1.2, 2.0, 0.7]
    losses = plackett_luce(rows(*([score[i] for i in order] for order in permutations(range(4)))))
    assert losses.neg().exp().sum().item() == pytest.approx(1.0, abs=1e-12)


def test_of_two_it_is_the_pair_loss() -> None:
    score_PK = rows([2.0, -1.0], [0.0, 3.0])
    for margin in (0.0, 0.7):
        torch.testing.assert_close(
            plackett_luce(score_PK, margin), -F.logsigmoid(score_PK[:, 0] - score_PK[:, 1] - margin)
        )


def test_a_common_shift_changes_nothing_and_far_scores_stay_finite() -> None:
    score_PK = rows([2.0, 1.0, 0.0], [500.0, -500.0, 0.0])
    torch.testing.assert_close(plackett_luce(score_PK + 7), plackett_luce(score_PK))
    assert plackett_luce(rows([-500.0, 0.0, 500.0])).tolist() == [1500.0]
