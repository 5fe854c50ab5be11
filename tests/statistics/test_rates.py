import math

import pytest
from scipy.stats import binomtest, norm

from overopt.statistics import wilson


def test_wilson_by_hand() -> None:
    # z = 2, 5 of 10: center (.5 + .2)/1.4 = .5, half-width 2/1.4 sqrt(.025 + .01)
    assert wilson(5, 10, z=2) == pytest.approx((0.5 - math.sqrt(0.035) / 0.7, 0.5 + math.sqrt(0.035) / 0.7))
    # no win: from 0 to z^2/(n + z^2) = 4/14
    assert wilson(0, 10, z=2) == pytest.approx((0, 4 / 14))
    assert wilson(10, 10, z=2) == pytest.approx((10 / 14, 1))
    assert wilson(0, 0) == (0, 1)


def test_wilson_solves_its_equation() -> None:
    low, high = wilson(84.5, 256)
    for bound in (low, high):
        assert abs(84.5 / 256 - bound) == pytest.approx(1.96 * math.sqrt(bound * (1 - bound) / 256))


@pytest.mark.parametrize(("wins", "n"), [(0, 7), (1, 7), (84, 256), (256, 256)])
def test_wilson_is_scipys(wins: int, n: int) -> None:
    reference = binomtest(wins, n).proportion_ci(0.95, method="wilson")
    assert wilson(wins, n, z=norm.ppf(0.975)) == pytest.approx((reference.low, reference.high))
