from __future__ import annotations

from math import log

import pytest
from float64 import numbers

from overopt.theory import closed_forms, objectives
from overopt.theory.candidates import Candidates, easy_bandit, worked_example
from overopt.theory.lengths import (
    detachment_bias,
    of_equal_length,
    policy_gradient,
    trained_gradient,
)
from overopt.theory.optima import entropy_objective


def test_the_objective_by_hand() -> None:
    """E[r] = 1, and the entropy terms are log 2 / 1 and log 2 / 2."""
    value = entropy_objective(numbers(0.5, 0.5).log(), numbers(0, 2), 2.0 / numbers(1, 2))
    assert float(value) == pytest.approx(1 + 2 * 0.75 * log(2))


def test_the_trained_gradient_by_hand() -> None:
    """At (1/4, 3/4) shaped rewards are log 4 and log(2)/2 + log(4/3)/2; times pi (1 - pi)."""
    gap = log(4) - 0.5 * log(8 / 3)
    gradient = trained_gradient(numbers(0.25, 0.75).log(), worked_example())
    assert gradient.tolist() == pytest.approx([3 / 16 * gap, -3 / 16 * gap])
    assert trained_gradient(numbers(0.5, 0.5).log(), worked_example()).tolist() == pytest.approx([0, 0])


def test_the_bias_by_hand() -> None:
    """-beta E[(1/|y|) grad log pi] at (1/2, 1/2) is 1/2 (1/2, -1/2) + 1/4 (-1/2, 1/2), with the sign turned."""
    c = worked_example()
    bonus = objectives.entropy_length_normalized(c.ref_logp_N, c.length_N, c.temperature)
    bias = detachment_bias(c, bonus, c.length_N)
    assert bias.tolist() == pytest.approx([1 / 8, -1 / 8])


@pytest.mark.parametrize("bandit", [worked_example(), easy_bandit()], ids=["two", "four"])
def test_policy_gradient_goes_to_the_fixed_point_and_not_to_the_maximizer(bandit: Candidates) -> None:
    form = (bandit.reward_N, bandit.length_N, bandit.temperature)
    trained, point = policy_gradient(bandit).exp(), closed_forms.trained_fixed_point(*form).exp()
    maximizer = closed_forms.length_normalized_maximizer(*form)
    assert float((trained - point).abs().max()) < 1e-6
    assert float((trained - maximizer.exp()).abs().max()) > 0.1


def test_equal_lengths() -> None:
    assert of_equal_length(easy_bandit()).length_N.tolist() == [3, 3, 3, 3]
