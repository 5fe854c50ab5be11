import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

from overopt.statistics import kendall, spearman
from overopt.statistics.correlations import Correlation

random = np.random.default_rng(4)
X = random.normal(size=30)
Y = X + 2 * random.normal(size=30)
BOTH = pytest.mark.parametrize(("correlate", "scipys"), [(kendall, stats.kendalltau), (spearman, stats.spearmanr)])
Correlate = Callable[..., Correlation]


def test_by_hand() -> None:
    # 1 2 3 4 against 1 3 2 4: five pairs in order, one not. Of 24 orders 8 have at least five pairs in one order
    assert kendall([1, 2, 3, 4], [1, 3, 2, 4]) == pytest.approx((4 / 6, 8 / 24))
    # rho = 1 - 6 * 2 / (4 * 15) = .8; the same 8 orders reach it
    assert spearman([1, 2, 3, 4], [1, 3, 2, 4]) == pytest.approx((0.8, 8 / 24))


@BOTH
def test_values_with_ties_are_scipys(correlate: Correlate, scipys: Any) -> None:
    x, y = np.round(X), np.round(Y)
    assert len(set(x)) < 8, "there are ties"
    assert correlate(x, y, permutations=9).value == pytest.approx(scipys(x, y).statistic)
    assert correlate(x, -y, permutations=9).value == pytest.approx(-scipys(x, y).statistic)


def test_kendalls_exact_p_is_scipys() -> None:
    assert kendall(X[:7], Y[:7]).p == pytest.approx(stats.kendalltau(X[:7], Y[:7], method="exact").pvalue)


@BOTH
def test_exact_p_with_ties_is_scipys_permutation_test(correlate: Correlate, scipys: Any) -> None:
    x, y = [1, 1, 2, 3, 4, 4], [2, 1, 2, 5, 4, 3]
    reference = stats.permutation_test(
        (x,), lambda z: scipys(z, y).statistic, permutation_type="pairings", vectorized=False
    )
    assert correlate(x, y).p == pytest.approx(reference.pvalue)


@BOTH
def test_drawn_orders_come_near_the_asymptotic_p(correlate: Correlate, scipys: Any) -> None:
    expected = scipys(X, Y).pvalue
    assert 0.001 < expected < 0.2
    assert correlate(X, Y).p == pytest.approx(expected, rel=0.25)
    assert correlate(X, Y, seed=1) == correlate(X, Y, seed=1)
    assert correlate(X, Y, seed=1).p != correlate(X, Y, seed=2).p


@BOTH
def test_p_is_never_zero(correlate: Correlate, scipys: Any) -> None:
    assert correlate(range(30), range(30), permutations=99) == pytest.approx((1, 1 / 100))


@BOTH
def test_a_constant_series_has_no_ranks(correlate: Correlate, scipys: Any) -> None:
    value, p = correlate([1, 1, 1], [1, 2, 3])
    assert math.isnan(value) and p == 1


@BOTH
def test_bad_series(correlate: Correlate, scipys: Any) -> None:
    for x, y in (([1, 2], [1]), ([1], [1]), ([1, math.nan], [1, 2])):
        with pytest.raises(ValueError, match="two series of finite numbers"):
            correlate(x, y)


@BOTH
def test_chunks_do_not_change_the_result(correlate: Correlate, scipys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = correlate(X, Y, permutations=500)
    monkeypatch.setattr("overopt.statistics.correlations.CHUNK", 30 * 435)
    assert correlate(X, Y, permutations=500) == pytest.approx(whole)
