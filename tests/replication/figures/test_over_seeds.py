import math

import numpy as np
import pytest
from figure_studies import points, run

from overopt.replication.figures.over_seeds import (
    Axis,
    block_width,
    curve,
    end_mark,
    final_win_rates,
    mean_text,
    outcome_text,
    pooled_label,
    sft_win_rate,
    share_text,
    win_rates,
)

T_2 = 4.302652729911275  # 97.5 % of Student's t with 2 degrees of freedom


def test_a_curve_is_the_mean_of_blocks_over_seeds_with_students_interval() -> None:
    lines = [points([1, 3, 5, 7]), points([2, 4, 6, 8]), points([6, 8, 10, 12])]
    first, second = curve(lines, width=2)  # block means 2, 3, 7 and 6, 7, 11
    assert (first.x, first.mean, first.seeds) == (1.5, 4, 3)
    half = T_2 * math.sqrt(7) / math.sqrt(3)  # the sample variance of 2, 3, 7 is 7
    assert (first.low, first.high) == pytest.approx((4 - half, 4 + half))
    assert (second.x, second.mean) == (3.5, 8)


def test_a_block_that_is_not_full_is_the_mean_of_what_is_there() -> None:
    assert [(p.x, p.mean) for p in curve([points([1, 3, 10])], width=2)] == [(1.5, 2), (3, 10)]


def test_a_single_seed_has_no_interval() -> None:
    (point,) = curve([points([2.0, 4.0])], width=2)
    assert point.mean == 3 and point.seeds == 1 and math.isnan(point.low) and math.isnan(point.high)


def test_where_a_seed_ended_the_mean_is_of_the_others() -> None:
    found = curve([points([1, 1]), points([3, 3, 5])])
    assert [(p.mean, p.seeds) for p in found] == [(2, 2), (2, 2), (5, 1)]


def test_values_that_are_not_finite_are_left_out() -> None:
    found = curve([points([1, math.nan, 5])], width=3)
    assert [(p.x, p.mean) for p in found] == [(2, 3)]  # steps 1 and 3
    assert curve([points([math.nan, math.nan])], width=1) == []


def test_on_a_logarithmic_axis_the_mean_is_geometric() -> None:
    axis = Axis(linear_below=1e-9)
    (point,) = curve([points([1.0]), points([100.0])], width=1, axis=axis)
    assert point.mean == pytest.approx(10, rel=1e-6)
    wide = Axis(linear_below=1.0)  # log1p, by hand: sqrt(2 * 5) - 1
    (point,) = curve([points([1.0]), points([4.0])], width=1, axis=wide)
    assert point.mean == pytest.approx(math.sqrt(10) - 1)
    (point,) = curve([points([-3.0]), points([3.0])], width=1, axis=wide)
    assert point.mean == pytest.approx(0)


def test_blocks_leave_at_most_25_points() -> None:
    assert block_width([points([0.0] * 80)]) == 4
    assert block_width([points([0.0] * 25), points([0.0] * 10)]) == 1
    assert block_width([points([0.0] * 26)]) == 2


def test_win_rates_are_shares_of_prompts_by_step() -> None:
    one = run("ME-1B-1e-6", rates=(0.4, 0.7, 0.5))
    found = win_rates(one)
    assert found is not None
    assert found[0].tolist() == [0, 10, 20] and found[1] == pytest.approx([0.4, 0.7, 0.5])
    assert win_rates(run("ME-1B-1e-6", rates=(0.4,))) is not None
    runs = [one, run("ME-1B-1e-6", seed=1, rates=(0.6, 0.1)), run("ME-1B-1e-7", seed=1, rates=(0.6, 0.2))]
    assert final_win_rates(runs) == pytest.approx([0.5, 0.1, 0.2])
    assert sft_win_rate(runs) == pytest.approx(0.5)  # of two seeds, not of three runs
    assert sft_win_rate([]) is None


def test_the_pooled_label_says_how_many_seeds_have_it() -> None:
    over = [run("R", seed=seed, label="OVER", rates=(0.5, 0.1)) for seed in range(4)]
    flat = run("R", seed=4, label="FLAT", rates=(0.5, 0.5))
    assert outcome_text(over) == "OVER" and outcome_text([*over, flat]) == "OVER 4 of 5"
    assert pooled_label([*over, flat]) == "OVER" and end_mark([*over, flat]) == "worse"
    good = [run("R", seed=seed, label="GOOD", rates=(0.5, 0.8)) for seed in range(3)]
    assert end_mark(good) == "better" and outcome_text(good) == "GOOD"
    assert end_mark([flat]) == "neither"
    none = [run("R", label=None), run("R", seed=1, label=None), good[0]]
    assert outcome_text(none) == "no label" and end_mark(none) == "neither"


def test_means_in_words() -> None:
    assert mean_text([0.5]) == "0.50" and mean_text([]) == "?"
    half = T_2 / math.sqrt(3)
    assert mean_text([1, 2, 3]) == f"2.00 [{2 - half:.2f}, {2 + half:.2f}]"
    assert share_text([0.0, 0.5, 1.0]) == "0.50 [0.00, 1.00]"
    assert np.isfinite(half)
