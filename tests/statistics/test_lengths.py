import math

import numpy as np
import pytest
from scipy.optimize import minimize

from overopt.statistics import by_length, length_bias, length_controlled, length_slope, wilson
from overopt.statistics.lengths import logistic
from overopt.statistics.rates import outcomes_interval, score_interval

LONGER_OFTEN_WINS = ([1.0] * 8 + [0.0] * 2 + [1.0] * 5 + [0.0] * 5, [30.0] * 10 + [-30.0] * 10)
"""Outcomes and differences: longer texts win 8 of 10, shorter ones 5 of 10."""


def test_length_controlled_by_hand() -> None:
    """Two groups of opposite differences: the logits of .8 and .5 are ln 4 and 0; halfway lies ln 2, a rate of 2/3."""
    found = length_controlled(*LONGER_OFTEN_WINS)
    assert found is not None
    assert found.value == pytest.approx(2 / 3, abs=1e-3)  # the ridge takes a little
    # variance of the logit (1/(10 x .16) + 1/(10 x .25)) / 4, times (2/9)^2 for the rate
    variance = (1 / 1.6 + 1 / 2.5) / 4 * (2 / 9) ** 2
    assert found[1:] == pytest.approx((*score_interval(2 / 3, variance * 20, 20), 20), abs=3e-3)


def test_without_length_it_is_the_win_rate() -> None:
    outcomes = [1.0, 0.5, 0.0, 1.0, 1.0, 0.5, 0.0, 1.0]
    found = length_controlled(outcomes, np.zeros(8))
    assert found is not None
    assert found.value == pytest.approx(0.625, abs=1e-3)
    assert found[1:3] == pytest.approx(outcomes_interval(outcomes), abs=2e-3)


def test_separation_stays_finite() -> None:
    wins = length_controlled([1.0] * 50, np.arange(50.0) - 20)
    assert wins is not None
    assert 0.99 < wins.value < 1
    assert wins.low == pytest.approx(wilson(50, 50)[0], abs=0.03)
    # the longer always wins: at equal lengths nobody knows
    separated = length_controlled([1.0] * 10 + [0.0] * 10, [5.0] * 10 + [-5.0] * 10)
    assert separated is not None
    assert separated.value == pytest.approx(0.5, abs=1e-6)


def test_what_a_length_controlled_rate_needs() -> None:
    assert length_controlled([], []) is None
    assert length_controlled([1.0, 0.0], [7.0, 7.0]) is None


def test_logistic_is_the_minimum_and_its_covariance_the_sandwich() -> None:
    random = np.random.default_rng(3)
    x = np.column_stack([np.ones(60), random.normal(size=60)])
    y = random.choice([0.0, 0.5, 1.0], size=60)

    def penalized(b: np.ndarray) -> float:
        p = 1 / (1 + np.exp(-x @ b))
        return float(-(y * np.log(p) + (1 - y) * np.log(1 - p)).sum() + 0.005 * b @ b)

    b, covariance = logistic(x, y)
    assert b == pytest.approx(minimize(penalized, [0, 0], tol=1e-10).x, abs=1e-5)
    p = 1 / (1 + np.exp(-x @ b))
    bread = np.linalg.inv(sum(p_i * (1 - p_i) * np.outer(r, r) for p_i, r in zip(p, x, strict=True)) + 0.01 * np.eye(2))
    meat = sum((y_i - p_i) ** 2 * np.outer(r, r) for y_i, p_i, r in zip(y, p, x, strict=True))
    assert covariance == pytest.approx(bread @ meat @ bread)


def test_by_length() -> None:
    # lengths 1, 2, 3, 4, 5, 6 and a repeated 2, which stays with its like
    short, middle, long = by_length([1, 1, 0, 0, 1, 0, 0.5], [1, 2, 2, 3, 4, 5, 6])
    assert short == (2 / 3, *wilson(2, 3), 3)
    assert middle == (0.5, *wilson(1, 2), 2)
    assert long == (0.25, *outcomes_interval([0, 0.5]), 2)
    assert by_length([1, 0], [5, 5]) == ((0.5, *wilson(1, 2), 2), None, None)
    assert by_length([], []) == (None, None, None)


def test_length_bias_by_hand() -> None:
    # the longer is preferred by judge and humans: (1, 0), (1, 1), (1/2, 0), (0, 0); a pair of equal length
    judge, human, differences = [1, 0, 0.5, 0, 1], [0, 0, 0, 0, 1], [9, -2, 4, 1, 0]
    found = length_bias(judge, human, differences)
    low, high = outcomes_interval([1, 0.5, 0.75, 0.5])
    assert found == pytest.approx((0.375, 2 * low - 1, 2 * high - 1, 4))
    assert length_bias([1], [1], [0]) is None


def test_length_slope_is_the_least_squares_line() -> None:
    random = np.random.default_rng(7)
    judge, human = random.choice([0.0, 0.5, 1.0], 50), random.choice([0.0, 1.0], 50)
    lengths = random.normal(0, 30, 50).round()
    feature = np.tanh(lengths / np.sqrt((lengths**2).mean()))
    slope = np.linalg.lstsq(feature[:, None], judge - human, rcond=None)[0][0]
    found = length_slope(judge, human, lengths)
    assert found is not None
    assert found.value == pytest.approx(slope)
    # in the middle a score interval is about +-1.96 of the weighted mean's standard error
    weight = np.abs(feature)
    toward = (judge - human) * np.sign(feature)
    mean = weight @ toward / weight.sum()
    error = math.sqrt((weight**2 * (toward - mean) ** 2).sum()) / (weight**2).sum()
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.05)


def test_length_slope_by_hand() -> None:
    """Of lengths that differ by the same, tanh is tanh(1) everywhere: the length bias over tanh(1)."""
    judge, human, lengths = [1, 1, 0.5, 0], [0, 1, 1, 0], [4, 4, -4, -4]
    bias, slope = length_bias(judge, human, lengths), length_slope(judge, human, lengths)
    assert bias is not None and slope is not None
    assert bias.value == (1 + 0 + 0.5 + 0) / 4
    assert slope[:3] == pytest.approx([number / math.tanh(1) for number in bias[:3]])
    # 2 and 0 times the same length: the pairs of equal length say nothing, the others have tanh(sqrt(2))
    two = length_slope([1, 1, 0], [0, 1, 1], [8, -8, 0])
    assert two is not None
    assert (two.value, two.n) == (pytest.approx((1 + 0) / 2 / math.tanh(math.sqrt(1.5))), 2)
    assert length_slope([1.0], [1.0], [0.0]) is None
    assert length_slope([], [], []) is None


def test_a_judge_that_is_always_right_has_no_slope_but_an_interval() -> None:
    found = length_slope([1.0, 0.0] * 50, [1.0, 0.0] * 50, np.arange(100.0))
    assert found is not None
    assert found.value == pytest.approx(0, abs=1e-12)
    assert found.low < -0.03 and found.high > 0.03


def test_which_text_is_the_first_does_not_matter() -> None:
    random = np.random.default_rng(5)
    judge, human = random.choice([0.0, 0.5, 1.0], 40), random.choice([0.0, 1.0], 40)
    lengths = random.normal(5, 20, 40).round()
    turned = random.random(40) < 0.5
    mirrored = [np.where(turned, 1 - judge, judge), np.where(turned, 1 - human, human)]
    lengths_mirrored = np.where(turned, -lengths, lengths)
    assert length_bias(*mirrored, lengths_mirrored) == pytest.approx(length_bias(judge, human, lengths))
    assert length_slope(*mirrored, lengths_mirrored) == pytest.approx(length_slope(judge, human, lengths))
