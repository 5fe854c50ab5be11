import numpy as np
import pytest

from overopt.statistics import agreement, kappa, order_consistency, position_bias, wilson
from overopt.statistics.rates import outcomes_interval, score_interval

# 25 pairs each: a judge and humans who prefer the first in 30 and in 25 of 50
JUDGE = [1.0] * 20 + [0.0] * 5 + [1.0] * 10 + [0.0] * 15
HUMAN = [1.0] * 25 + [0.0] * 25


def test_agreement_counts_a_tie_half() -> None:
    assert agreement(JUDGE, HUMAN) == (0.7, *wilson(35, 50), 50)
    # equal, half, opposite, equal ties
    found = agreement([1, 0.5, 0, 0.5], [1, 1, 1, 0.5])
    assert found == (0.625, *outcomes_interval([1, 0.5, 0, 1]), 4)
    assert agreement([], []) is None


def test_kappa_by_hand() -> None:
    # A = .7, E = .6 x .5 + .4 x .5 = .5
    found = kappa(JUDGE, HUMAN)
    assert found is not None
    assert found.value == pytest.approx(0.4)
    # A moves by w - .6 (of_x + of_y), of_x = .5 whatever the judge says, of_y = .6 if humans say 1, .4 if 0:
    # 20 x (1 - .66), 5 x (0 - .66), 10 x (0 - .54), 15 x (1 - .54); mean .1
    moves = np.array([0.34] * 20 + [-0.66] * 5 + [-0.54] * 10 + [0.46] * 15)
    low, high = score_interval(0.7, float((moves**2).mean()) - 0.01, 50)
    assert found[1:] == pytest.approx((2 * low - 1, 2 * high - 1, 50))


@pytest.mark.parametrize("table", [[[20, 5, 1], [3, 10, 4], [2, 6, 30]], [[50, 1, 0], [0, 0, 3], [2, 0, 4]]])
def test_kappas_variance_is_that_of_fleiss_cohen_and_everitt(table: list[list[int]]) -> None:
    counts = np.array(table)
    values = np.array([0.0, 0.5, 1.0])
    rows, columns = (np.repeat(values[index.ravel()], counts.ravel()) for index in np.indices((3, 3)))
    n, p = counts.sum(), counts / counts.sum()
    w = 1 - np.abs(values[:, None] - values)
    p_row, p_column = p.sum(1), p.sum(0)
    observed, expected = (w * p).sum(), p_row @ w @ p_column
    w_row, w_column = w @ p_column, p_row @ w  # mean weights of a row and of a column
    inner = w * (1 - expected) - (w_row[:, None] + w_column) * (1 - observed)
    correction = (observed * expected - 2 * expected + observed) ** 2
    variance = ((p * inner**2).sum() - correction) / (n * (1 - expected) ** 4)

    found = kappa(rows, columns)
    assert found is not None
    assert found.value == pytest.approx((observed - expected) / (1 - expected))
    low, high = score_interval(observed, variance * n * (1 - expected) ** 2, n)
    assert found.low == pytest.approx((low - expected) / (1 - expected))
    assert found.high == pytest.approx((high - expected) / (1 - expected))


def test_kappa_at_its_ends() -> None:
    perfect = kappa(HUMAN, HUMAN)
    assert perfect is not None
    assert (perfect.value, perfect.low) == (1, pytest.approx(2 * wilson(50, 50)[0] - 1))
    opposite = kappa([1.0, 0.0] * 10, [0.0, 1.0] * 10)
    assert opposite is not None
    assert opposite[:2] == (-1, -1)
    constant = kappa([1.0] * 50, HUMAN)
    assert constant is not None
    assert constant.value == 0
    assert kappa([1.0] * 5, [1.0] * 5) is None
    assert kappa([], []) is None


def test_position_bias_by_hand() -> None:
    # first twice; consistent; consistent; one valid reply, first; none: 5 of 7 replies
    first = [[1, 1], [1, 0], [0, 1], [1, np.nan], [np.nan, np.nan]]
    found = position_bias(first)
    assert found is not None
    assert (found.value, found.n) == (pytest.approx(5 / 7 - 0.5), 4)
    # residuals: 2 - 10/7, 1 - 10/7 twice, 1 - 5/7, over 7/4 replies a pair
    residuals = np.array([4 / 7, -3 / 7, -3 / 7, 2 / 7]) / (7 / 4)
    low, high = score_interval(5 / 7, float((residuals**2).mean()), 4)
    assert found[1:3] == pytest.approx((low - 0.5, high - 0.5))


def test_a_pairs_replies_are_not_independent() -> None:
    """A judge that ignores positions has no bias, for certain; 100 coin flips instead leave +-.1."""
    consistent = position_bias([[1, 0], [0, 1]] * 25)
    assert consistent is not None
    assert consistent.value == 0
    assert consistent.high < 0.04
    # one that always says "first": the pairs are 50, not 100
    always = position_bias([[1, 1]] * 50)
    assert always is not None
    assert always[:3] == (0.5, wilson(50, 50)[0] - 0.5, 0.5)
    assert position_bias([[np.nan, np.nan]]) is None
    one_order = position_bias([1, 0, 0, 0])
    assert one_order is not None
    assert one_order[:3] == pytest.approx((-0.25, *(bound - 0.5 for bound in wilson(1, 4))))


def test_order_consistency() -> None:
    # the same text twice, ties twice; first twice, a tie and a choice; incomplete
    first = [[1, 0], [0, 1], [0.5, 0.5], [1, 1], [0.5, 1], [np.nan, 1]]
    assert order_consistency(first) == (0.6, *wilson(3, 5), 5)
    assert order_consistency([[1], [0]]) is None
    assert order_consistency([[1, np.nan]]) is None


def test_both_sides_are_of_the_same_pairs() -> None:
    with pytest.raises(ValueError, match="same pairs"):
        agreement([1.0], [1.0, 0.0])
    with pytest.raises(ValueError, match="from 0 to 1"):
        kappa([np.nan], [1.0])
