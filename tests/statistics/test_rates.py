import math

import numpy as np
import pytest
from scipy.optimize import brentq, minimize_scalar
from scipy.stats import binomtest, norm

from overopt.statistics import mean_outcome, outcomes_interval, wilson
from overopt.statistics.rates import score_interval


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


@pytest.mark.parametrize(("wins", "losses"), [(0, 9), (3, 4), (50, 1), (12, 0)])
def test_without_ties_the_interval_is_wilsons(wins: int, losses: int) -> None:
    assert outcomes_interval([1.0] * wins + [0.0] * losses) == pytest.approx(wilson(wins, wins + losses), abs=1e-12)


def test_ties_alone_by_hand() -> None:
    """The most likely share of ties at a mean m < 1/2 is 2m, so (1/2 - m)^2 = z^2/n m (1/2 - m): m = .5/(1 + z^2/n)."""
    assert outcomes_interval([0.5] * 10, z=2) == pytest.approx((0.5 / 1.4, 1 - 0.5 / 1.4))


@pytest.mark.parametrize(
    ("wins", "ties", "losses"), [(40, 30, 30), (3, 1, 0), (0, 1, 43), (1, 20, 5), (0, 3, 0), (90, 200, 10)]
)
def test_the_bounds_are_tangos(wins: int, ties: int, losses: int) -> None:
    """Tango's score interval, its nuisance parameter found by numerical search."""
    n = wins + ties + losses
    mean = (wins + ties / 2) / n

    def excess(m: float) -> float:
        def minus_log_likelihood(t: float) -> float:
            shares = ((wins, m - t / 2), (ties, t), (losses, 1 - m - t / 2))
            return -sum(count * math.log(max(share, 1e-300)) for count, share in shares if count)

        most = 2 * min(m, 1 - m)
        t = minimize_scalar(minus_log_likelihood, bounds=(0, most), method="bounded", options={"xatol": 1e-12}).x
        return (mean - m) ** 2 - 1.96**2 / n * (m * (1 - m) - t / 4)

    low, high = outcomes_interval([1.0] * wins + [0.5] * ties + [0.0] * losses)
    assert low == pytest.approx(brentq(excess, 1e-9, mean - 1e-9), abs=1e-5)
    assert high == pytest.approx(brentq(excess, mean + 1e-9, 1 - 1e-9), abs=1e-5)


def test_ties_make_it_narrower_and_never_empty() -> None:
    low, high = outcomes_interval([1.0] * 10 + [0.5] * 80 + [0.0] * 10)
    wide = wilson(50, 100)
    assert wide[0] < low < 0.5 < high < wide[1]
    assert high - low == pytest.approx((wide[1] - wide[0]) * math.sqrt(0.2), rel=0.1)  # variance .05 in place of .25
    low, high = outcomes_interval([1.0] * 99 + [0.5])
    assert 0.95 < low < 0.995 < high <= 1
    assert outcomes_interval([]) == (0, 1)


def test_other_outcomes_count_as_the_wins_and_ties_of_their_mean_and_variance() -> None:
    # 1/4 and 3/4: mean 1/2, variance 1/16, as of ties with 1/8 of wins and 1/8 of losses
    mixed = outcomes_interval([1.0] * 8 + [0.0] * 8 + [0.5] * 48)
    assert outcomes_interval([0.25] * 32 + [0.75] * 32) == pytest.approx(mixed)


def test_a_variance_above_the_binomial_one_makes_the_sample_smaller() -> None:
    assert score_interval(0.5, 0.5, 100) == pytest.approx(wilson(25, 50))


def test_mean_outcome() -> None:
    assert mean_outcome([]) is None
    assert mean_outcome([1, 0.5, 1, 0]) == (0.625, *outcomes_interval([1, 0.5, 1, 0]), 4)
    with pytest.raises(ValueError, match="from 0 to 1"):
        mean_outcome([1.0, np.nan])
