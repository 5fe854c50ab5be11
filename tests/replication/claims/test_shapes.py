from __future__ import annotations

import math

import numpy as np
import pytest

from overopt.replication.claims.shapes import bulge, growth, half, late_by_early, r2_of_line

T = np.linspace(0, 1, 1001)


def test_half_of_a_line_and_of_a_saturated_series() -> None:
    # the end is the mean of the last 51 of 1001 points: 1 - 25/1000
    assert half((T, 3 * T)) == pytest.approx(0.5 / 0.975, rel=1e-6)
    assert half((T, np.minimum(1, 4 * T))) == pytest.approx(1)
    assert half((T, T**2)) == pytest.approx(0.25 / 0.951, rel=0.01)
    assert math.isnan(half((T, 0 * T)))


def test_half_is_by_place_on_the_axis_and_not_by_count() -> None:
    decaying = np.cumsum(np.linspace(1, 0, 1001))  # what a linear schedule has learned by each step
    assert half((decaying, decaying)) == pytest.approx(0.5, abs=0.01)
    assert half((T, decaying)) == pytest.approx(0.75, abs=0.01)


def test_slopes_of_the_outer_thirds() -> None:
    assert late_by_early((T, 5 * T)) == pytest.approx(1)
    # squares: the mean slope of x^2 about 5/6 is 5/3, about 1/6 it is 1/3
    assert late_by_early((T, T**2)) == pytest.approx(5, rel=0.01)
    assert late_by_early((T, np.minimum(T, 0.5))) == pytest.approx(0, abs=1e-9)
    assert math.isnan(late_by_early((T, -T)))


def test_r2_of_a_line() -> None:
    assert r2_of_line((T, 2 + 3 * T)) == pytest.approx(1)
    assert r2_of_line((T, np.cos(2 * np.pi * (T - 0.1) / 0.9))) == pytest.approx(0, abs=0.01)
    # of x^2 on (0, 1) it is 15/16; on (.1, 1), in bins, a little more
    assert 15 / 16 < r2_of_line((T, T**2)) < 0.97
    assert math.isnan(r2_of_line((T, 0 * T + 1)))


def test_growth_leaves_out_the_first_tenth() -> None:
    warm = np.where(T < 0.1, 100, 1 + T)
    # the last and the first 5 % of what is left
    assert growth((T, warm)) == pytest.approx((2 - 0.0225) / (1.1 + 0.0225), rel=0.001)
    assert math.isnan(growth((T, 0 * T)))


def test_a_bulge_is_relative_to_the_early_median() -> None:
    assert bulge((T, 0 * T + 2)) == pytest.approx(1)
    hump = np.where(np.abs(T - 0.6) < 0.05, 5.0, 1.0)
    assert bulge((T, hump)) == pytest.approx(5)
    early = np.where(T < 0.15, 5.0, 1.0)  # before 20 % it is no bulge, and the median is over 10 to 30 %
    assert bulge((T, early)) == pytest.approx(1)
