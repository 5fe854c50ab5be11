import math

import numpy as np
import pytest

from overopt.statistics.series import (
    Trend,
    binned,
    direction,
    fall,
    kendall_trend,
    rise,
    start_end,
)


def test_start_end_of_five_points_each() -> None:
    # 1..12: means of 1..5 and 8..12, variance of five in a row 2.5
    found = start_end(range(1, 13))
    assert found == pytest.approx((3, 10, math.sqrt(0.5), math.sqrt(0.5)))
    assert found.se == pytest.approx(1)


def test_start_end_of_five_percent() -> None:
    assert start_end(range(200))[:2] == (4.5, 194.5)  # ten points each
    assert start_end([7.0]) == (7, 7, 0, 0)
    with pytest.raises(ValueError, match="empty"):
        start_end([])


def test_rise_and_fall() -> None:
    assert rise(range(1, 13)) and not fall(range(1, 13))
    assert fall(range(12, 0, -1)) and not rise(range(12, 0, -1))
    noise = [0, 1, 0, 1, 0]
    assert not rise(noise + [v + 0.5 for v in noise])
    assert rise([v + 2 * t for t, v in enumerate(noise + noise)])
    assert not rise([1.0] * 12) and not fall([1.0] * 12)
    assert not rise([1, 2, 3, 4, 5]), "its start is its end"


def test_what_wanders_seldom_rises_and_has_seldom_a_trend() -> None:
    """Of 200 random walks without drift at most 2.5 % a side, and 2 standard errors of such a share."""
    random = np.random.default_rng(0)
    walks = np.cumsum(random.standard_normal((200, 120)), axis=1)
    said = [direction(kendall_trend(range(120), walk)) for walk in walks]
    most = 200 * (0.025 + 2 * math.sqrt(0.025 * 0.975 / 200))
    counts = [said.count("up"), said.count("down"), sum(map(rise, walks)), sum(map(fall, walks))]
    assert max(counts) <= most
    noise = random.standard_normal((50, 120))
    assert sum(rise(z + np.linspace(0, 6, 120)) for z in noise) > 40
    assert sum(direction(kendall_trend(range(120), z + np.linspace(0, 6, 120))) == "up" for z in noise) > 35


def test_bins_are_at_most_a_quarter_of_the_points_and_skip_the_beginning() -> None:
    # steps 0..20: .1 drops 0 and 1; 19 points make 4 bins of width 4.5 from 2: 2-6, 7-10, 11-15, 16-20
    x, z = binned(range(21), [2 * s for s in range(21)])
    assert x.tolist() == [4, 8.5, 13, 18]
    assert z.tolist() == [8, 17, 26, 36]
    x, _ = binned(range(1001), range(1001))
    assert len(x) == 50


def test_empty_bins_are_left_out() -> None:
    x, z = binned([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10], range(12), skip=0)
    assert x.tolist() == [0, 10]
    assert z.tolist() == [5, 11]


def test_kendall_trend() -> None:
    steps = range(200)
    assert kendall_trend(steps, steps).tau == pytest.approx(1)
    assert kendall_trend(steps, [-s for s in steps]).tau == pytest.approx(-1)
    assert direction(kendall_trend(steps, steps)) == "up"
    assert direction(kendall_trend(steps, [-s for s in steps])) == "down"
    assert kendall_trend(steps, [1.0] * 200) == Trend(0, 1)
    assert kendall_trend([1, 2, 3], [1, 2, 3]) == Trend(0, 1)


def test_kendalls_tau_by_hand() -> None:
    # four bins 2, 1, 3, 4: five pairs in order, one not: (5 - 1)/6; exact p = 2 * 4/24
    values = np.repeat([2.0, 1.0, 3.0, 4.0], 4)
    tau, p = kendall_trend(range(16), values, skip=0)
    assert tau == pytest.approx(4 / 6)
    assert p > 1 / 3, "so few bins may be a walk's"
    assert direction(Trend(tau, p)) == "none"
    assert direction(Trend(0.29, 1e-9)) == "none"


def test_a_strong_trend_has_kendalls_own_p() -> None:
    line = np.arange(400.0)
    assert kendall_trend(line, line).p == pytest.approx(1 / 2001), "none of 2000 draws of noise is as ordered"
