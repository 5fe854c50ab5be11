"""The true values that `bench/judge_coverage.py` holds intervals against: by hand, and as large samples have them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from judge_coverage import Count, Pairs, SimulatedJudge, draw, estimates, truths

from overopt.statistics import Estimate

PAIRS = Pairs(np.array([1.0, 0.0, 1.0, 1.0, 0.0]), np.array([120.0, -30.0, 0.0, -400.0, 77.0]))
IDEAL = SimulatedJudge(skill=math.log(4), towards_first=0, towards_longer=0, ties=0, invalid=0, spread=0)


def test_a_judge_without_bias_by_hand() -> None:
    """Each reply is right with probability 0.8, whatever the pair and the order."""
    replies = IDEAL.replies(PAIRS)
    true = truths(PAIRS, replies, replies)
    assert true["accuracy"] == pytest.approx(0.8)
    assert true["position bias"] == pytest.approx(0)
    assert true["order consistency"] == pytest.approx(0.64 + 0.04)
    assert true["win rate"] == pytest.approx(0.6 * 0.8 + 0.4 * 0.2)
    # outcomes 1, 1/2, 0 with .64, .32, .04: agreement 1 - E|a - b|
    assert true["agreement of two judges"] == pytest.approx(1 - (2 * 0.64 * 0.04 + 2 * 0.32 * 0.68 / 2))
    # P(1) = .56 in the mean of the outcomes, .6 of the labels
    chance = 0.6 * 0.56 + 0.4 * 0.44
    assert true["kappa"] == pytest.approx((0.8 - chance) / (1 - chance))
    # of the unequal pairs the longer text is the better one in the first two, the worse one in the others
    assert true["length bias"] == pytest.approx((0.8 + 0.8 + 0.2 + 0.2) / 4 - 2 / 4)


def test_a_judge_of_positions_alone() -> None:
    replies = SimulatedJudge(0, 50, 0, 0, 0, 0).replies(PAIRS)
    true = truths(PAIRS, replies, IDEAL.replies(PAIRS))
    assert (true["accuracy"], true["kappa"]) == pytest.approx((0.5, 0), abs=1e-9)
    assert (true["position bias"], true["order consistency"]) == pytest.approx((0.5, 0), abs=1e-9)


def test_large_samples_have_the_true_values() -> None:
    random = np.random.default_rng(0)
    a = SimulatedJudge(1.2, 0.8, 0.6, 0.1, 0.05, 1.5).replies(PAIRS)
    b = SimulatedJudge(0.4, -0.5, -0.2, 0.02, 0.02, 0.5).replies(PAIRS)
    rows, difficulty = random.integers(5, size=100_000), random.integers(3, size=100_000)
    found = estimates(PAIRS, rows, *(draw(replies, rows, difficulty, random) for replies in (a, b)))
    true = truths(PAIRS, a, b)
    assert found.keys() == true.keys()
    for name, estimate in found.items():
        assert estimate is not None
        assert estimate.value == pytest.approx(true[name], abs=0.006), name


def test_counts() -> None:
    count = Count()
    for true in (0.1, 0.5, 0.9, 0.2):
        count.add(Estimate(0.4, 0.2, 0.6, 10), true)
    assert (count.held, count.above, count.below, count.judges) == (2, 1, 1, 4)
