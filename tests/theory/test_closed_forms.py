"""Numbers worked by hand, for two or three candidates."""

from __future__ import annotations

from math import e, log, sqrt

import pytest
import torch
from float64 import numbers
from torch import Tensor

from overopt.theory import closed_forms as formulas


def close(tensor: Tensor, *values: float) -> bool:
    assert tensor.dtype == torch.float64
    return tensor.tolist() == pytest.approx(values, rel=1e-13, abs=1e-15)


def test_maximum_entropy_optimum() -> None:
    """exp(r/alpha) = (1, 3): a quarter and three quarters, Z = 4."""
    reward = numbers(0, 0.5 * log(3))
    assert close(formulas.maxent_optimum(reward, 0.5).exp(), 1 / 4, 3 / 4)
    assert float(formulas.log_partition(reward, 0.5)) == pytest.approx(log(4), rel=1e-14)


def test_kl_optimum() -> None:
    """ref exp(r/beta) = (3/4 * 1, 1/4 * 3)."""
    assert close(formulas.kl_optimum(numbers(0, 2 * log(3)), numbers(3 / 4, 1 / 4).log(), 2.0).exp(), 1 / 2, 1 / 2)


WORKED = numbers(0, log(2) / 2), numbers(1, 2), 1.0
"""u = exp(-c) solves u + 2 u^2 = 1 (fixed point) or = e (maximizer)."""


def test_length_normalized_optima_of_two_candidates() -> None:
    root = (sqrt(1 + 8 * e) - 1) / 4
    assert close(formulas.trained_fixed_point(*WORKED).exp(), 1 / 2, 1 / 2)
    assert close(formulas.length_normalized_maximizer(*WORKED).exp(), root / e, 2 * root**2 / e)
    assert close(formulas.naive_substitution(*WORKED).exp(), 1 / 3, 2 / 3)


def test_the_fixed_point_of_three_candidates() -> None:
    """u/2 + u/2 + 2 u^2 = 1, so u = 1/2; rewards and beta scale together."""
    reward, length = numbers(log(1 / 2), log(1 / 2), log(2) / 2), numbers(1, 1, 2)
    for beta in (1.0, 3.0):
        assert close(formulas.trained_fixed_point(beta * reward, length, beta).exp(), 1 / 4, 1 / 4, 1 / 2)


def test_optima_of_equal_lengths_are_those_of_maximum_entropy() -> None:
    """exp(2 r) = (1, 3)."""
    reward, length = numbers(0, log(3) / 2), numbers(2, 2)
    for optimum in (formulas.trained_fixed_point, formulas.length_normalized_maximizer, formulas.naive_substitution):
        assert close(optimum(reward, length, 1.0).exp(), 1 / 4, 3 / 4)


@pytest.mark.parametrize("optimum", [formulas.trained_fixed_point, formulas.length_normalized_maximizer])
@pytest.mark.parametrize("beta", [0.05, 1.0, 50.0])
def test_lengths_and_rewards_far_apart(optimum: object, beta: float) -> None:
    assert callable(optimum)
    logp = optimum(numbers(5, -5, 0, 4.9), numbers(1, 53, 53, 40), beta)
    assert float(logp.exp().sum()) == pytest.approx(1, abs=1e-11)
    assert (logp <= 0).all()


def test_preferences() -> None:
    """Rewards log 3, log 2, log 1, best first: 3/6 * 2/3; from the other end 1/6 * 2/5."""
    best_first = numbers(3, 2, 1).log()
    assert close(formulas.bradley_terry(best_first, numbers(1, 1, 1).log()), 3 / 4, 2 / 3, 1 / 2)
    assert float(formulas.plackett_luce(best_first)) == pytest.approx(1 / 3, rel=1e-14)
    assert float(formulas.plackett_luce(best_first.flip(0))) == pytest.approx(1 / 15, rel=1e-14)
    assert close(formulas.plackett_luce(torch.stack([best_first, best_first.flip(0)])), 1 / 3, 1 / 15)


def test_projection() -> None:
    """exp(r/alpha) = (1, 3) and Z = 4, so f(r) = alpha (log 1/4, log 3/4)."""
    assert close(formulas.projection(numbers(0, 2 * log(3)), 2.0), 2 * log(1 / 4), 2 * log(3 / 4))


def test_pair_loss() -> None:
    """The odds are 3 to 1 for the chosen one."""
    assert close(formulas.maxent_pair_loss(numbers(log(3) - 1), numbers(-1), 1.0), log(4 / 3))
    assert close(formulas.maxent_pair_loss(numbers(-1), numbers(log(3) - 1), 1.0), log(4))
    assert float(formulas.maxent_pair_loss(numbers(0), numbers(800), 1.0)) == 800


def test_simpo_gradient() -> None:
    """alpha/|y| = (2, 1) and both mean log-probabilities -1: sigma(-u) is sigma(gamma)."""
    chosen, rejected, lengths = numbers(-1), numbers(-2), (numbers(1), numbers(2))
    assert formulas.simpo_gradient(chosen, rejected, *lengths, 2.0, 0.0) == (numbers(-1), numbers(0.5))
    steeper = formulas.simpo_gradient(chosen, rejected, *lengths, 2.0, log(3))
    assert close(torch.cat(steeper), -2 * 3 / 4, 3 / 4)


def test_length_correction_and_leave_one_out() -> None:
    assert close(formulas.length_correction(numbers(1, 4), 2.0), -2, -1 / 2)
    assert close(formulas.leave_one_out(numbers(0, 3)), -3, 3)
    assert close(formulas.leave_one_out(numbers(0, 3, 6)), -4.5, 0, 4.5)
