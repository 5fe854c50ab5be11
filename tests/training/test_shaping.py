from __future__ import annotations

import pytest
import torch

from overopt.objectives.controllers import AdaptiveKL, Linear
from overopt.objectives.regularizers import KL, EntropyLengthNormalized, EntropySum
from overopt.objectives.regularizers.loss import K2, TokenEntropy
from overopt.training.shaping import (
    bonus,
    coefficient_metrics,
    coefficients,
    initial_coefficients,
    loss_regularizer_names,
    shape,
)
from overopt.types import Rollouts


def rollouts(progress: float = 0.0) -> Rollouts:
    """Four completions of two prompts; lengths 2, 1, 2, 2, log-probabilities -3, -1, -4, -2, KL 1 each."""
    mask_BT = torch.tensor([[True, True], [True, False], [True, True], [True, True]])
    logp_BT = torch.tensor([[-1.0, -2.0], [-1.0, 0.0], [-2.0, -2.0], [-0.5, -1.5]])
    ref_logp_BT = logp_BT - torch.tensor([[1.0, 0.0]])
    score_B = torch.tensor([1.0, 2.0, 3.0, 4.0])
    return Rollouts(logp_BT, mask_BT, score_B, 2, 0.7, ref_logp_BT=ref_logp_BT, progress=progress)


def test_the_bonus_is_the_sum_of_all_regularizers() -> None:
    """-0.5 log pi + 2 log pi / |y|: 1.5 - 3, 0.5 - 2, 2 - 4, 1 - 2."""
    bonus_B = bonus([EntropySum(), EntropyLengthNormalized()], [0.5, -2.0], rollouts())
    assert bonus_B.tolist() == [-1.5, -1.5, -2.0, -1.0]
    assert bonus([], [], rollouts()).tolist() == [0.0] * 4


def test_rewards_are_scores_and_bonus_in_groups() -> None:
    rewards = shape(rollouts(), torch.tensor([0.5, -1.0, 0.0, 1.0]))
    assert rewards.reward_PG.tolist() == [[1.5, 1.0], [3.0, 5.0]]
    assert rewards.length_PG.tolist() == [[2, 1], [2, 2]]
    assert rewards.greedy_P is None
    assert shape(rollouts(), torch.zeros(4), torch.tensor([7.0, 8.0])).greedy_P is not None


def test_coefficients_move_by_themselves_and_those_that_do_are_recorded() -> None:
    """A line from 0.6 to 0; a controller whose KL of 1 is far below its target of 10: 0.1 (1 - 0.2 * 4 / 10 000)."""
    reward, loss = [KL(coef=0.3), EntropySum(coef=Linear(initial=0.6))], [K2(coef=AdaptiveKL(initial=0.1, target=10.0))]
    states, loss_states = initial_coefficients(reward), initial_coefficients(loss)
    for progress, line, controlled in [(0.0, 0.6, 0.1), (1 / 3, 0.4, 0.1 * (1 - 0.2 * 4 / 10_000))]:
        coefs, states = coefficients(reward, rollouts(progress), states)
        loss_coefs, loss_states = coefficients(loss, rollouts(progress), loss_states)
        assert coefs == pytest.approx([0.3, line]) and loss_coefs == pytest.approx([controlled])
        assert coefficient_metrics(reward, coefs, "coef") == {"coef_1": pytest.approx(line)}
        assert coefficient_metrics(loss, loss_coefs, "loss_coef") == {"loss_coef_0": pytest.approx(controlled)}


def test_regularizers_in_the_loss_have_names_of_their_own() -> None:
    names = loss_regularizer_names([K2(), TokenEntropy(), K2(), K2()])
    assert names == ["loss/k2", "loss/token_entropy", "loss/k2#2", "loss/k2#3"]
