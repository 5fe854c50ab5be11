import math

import numpy as np
import pytest
from scipy import stats

from overopt.statistics import largest_p, tail


def test_tail() -> None:
    assert [tail(z) for z in (-1.0, 0.0, 2.0, 9.0)] == pytest.approx(stats.norm.sf([-1, 0, 2, 9]))


def test_one_column_and_equal_columns_are_one_look() -> None:
    column = np.array([0.0, 1, 0, 1, 1, 0])
    assert largest_p(column[:, None], 2.0) == tail(2)
    assert largest_p(np.stack([column, column + 3], axis=1), 2.0) == pytest.approx(tail(2), rel=1e-3)
    assert largest_p(np.stack([column, np.zeros(6)], axis=1), 2.0) == tail(2), "what never differs is no look"
    assert largest_p(column[:, None], math.inf) == 0


def test_uncorrelated_columns_are_as_many_looks() -> None:
    """Of eight orthogonal contrasts: 1 - (1 - tail)^8."""
    hadamard = np.array([[1.0]])
    for _ in range(4):
        hadamard = np.block([[hadamard, hadamard], [hadamard, -hadamard]])
    for z in (1.0, 2.0, 3.0):
        assert largest_p(hadamard[:, 1:9], z) == pytest.approx(1 - (1 - tail(z)) ** 8, rel=0.02)
    assert largest_p(hadamard[:, 1:9], 8.0) == pytest.approx(8 * tail(8), rel=1e-6)


def test_two_correlated_columns_against_the_bivariate_normal() -> None:
    a, b = np.tile([1.0, 1, -1, -1], 2), np.tile([1.0, -1, 1, -1], 2)
    correlated = np.stack([a, 0.8 * a + 0.6 * b], axis=1)
    both_below = stats.multivariate_normal([0, 0], [[1, 0.8], [0.8, 1]]).cdf([2.0, 2.0])
    assert largest_p(correlated, 2.0) == pytest.approx(1 - both_below, rel=0.01)


def test_absent_units_count_in_no_column_and_the_draws_are_seeded() -> None:
    a, b = np.tile([1.0, 1, -1, -1], 2), np.tile([1.0, -1, 1, -1], 2)
    whole = np.stack([a, b], axis=1)
    absent = np.vstack([whole, [[math.nan, math.nan]]])
    assert largest_p(absent, 2.0) == largest_p(whole, 2.0) == largest_p(whole, 2.0)
    assert largest_p(whole, 2.0, seed=1) != largest_p(whole, 2.0)
    assert largest_p(whole, 2.0, seed=1) == pytest.approx(largest_p(whole, 2.0), rel=0.02)
