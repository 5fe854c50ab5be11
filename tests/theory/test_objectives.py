"""The project's objectives see a candidate as it is, whatever the shapes in between."""

from __future__ import annotations

from math import log

import pytest
import torch
from float64 import numbers

from overopt.theory import objectives


def test_simpo() -> None:
    """Mean log-probabilities -1 and -2, alpha 2: rewards -2 and -4, u = 2 - gamma."""
    pair = numbers(-3), numbers(-2), numbers(3), numbers(1)
    assert [float(r) for r in objectives.simpo_reward(*pair, 2.0)] == pytest.approx([-2, -4])
    assert float(objectives.simpo_loss(*pair, 2.0, 2 - log(3))) == pytest.approx(log(4 / 3), rel=1e-14)


def test_dpo() -> None:
    """beta (log-ratio of the chosen - of the rejected) = 0.5 (2 log 3 - 0)."""
    loss = objectives.dpo_loss(numbers(-1), numbers(-5), numbers(-1 - 2 * log(3)), numbers(-5), 0.5)
    assert float(loss) == pytest.approx(log(4 / 3), rel=1e-14)


def test_ranking_loss() -> None:
    """alpha log pi = log(3, 2, 1) in that order: 3/6 * 2/3."""
    logp = torch.stack([numbers(3, 2, 1).log() / 2])
    assert float(objectives.ranking_loss(logp, 2.0)) == pytest.approx(log(3), rel=1e-14)


def test_rloo() -> None:
    assert objectives.rloo(torch.stack([numbers(0, 3, 6)])).tolist() == [[-4.5, 0, 4.5]]


def test_entropies() -> None:
    logp, length = numbers(-1, -6), numbers(1, 3)
    assert objectives.entropy_sum(logp, length, 0.5).tolist() == pytest.approx([0.5, 3])
    assert objectives.entropy_length_normalized(logp, length, 0.5).tolist() == pytest.approx([0.5, 1])
    assert objectives.entropy_with_correction(logp, length, 0.5).tolist() == pytest.approx([0, 5 / 6])


def test_the_bonuses_carry_no_gradient() -> None:
    logp = numbers(-1, -6).requires_grad_()
    for bonus in (
        objectives.entropy_sum,
        objectives.entropy_length_normalized,
        objectives.entropy_with_correction,
    ):
        assert not bonus(logp, numbers(1, 3), 0.5).requires_grad


def test_tokens_share_a_candidate_evenly() -> None:
    logp_NT, mask_NT = objectives.as_tokens(numbers(-1, -6), numbers(1, 3))
    assert logp_NT.tolist() == [[-1, 0, 0], [-2, -2, -2]]
    assert mask_NT.tolist() == [[True, False, False], [True, True, True]]


def test_everything_is_float64() -> None:
    one = numbers(1)
    made = [
        objectives.simpo_loss(one, one, one, one, 1.0, 0.0),
        *objectives.simpo_reward(one, one, one, one, 1.0),
        objectives.dpo_loss(one, one, one, one, 1.0),
        objectives.rloo(torch.stack([numbers(0, 1)])),
        objectives.entropy_sum(one, one, 1.0),
        objectives.entropy_length_normalized(one, one, 1.0),
    ]
    assert all(tensor.dtype == torch.float64 for tensor in made)
