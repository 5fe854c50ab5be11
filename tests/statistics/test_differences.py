import math

import numpy as np
import pytest

from overopt.statistics.differences import Difference, paired_difference, several_seeds, standard_error


def test_paired_difference_is_mcnemars() -> None:
    # 10 prompts, 4 won only by a (b = 4), 1 only by b (c = 1): D = .3, se = sqrt(5 - 9/10)/10
    a = [1, 1, 1, 1, 0, 1, 1, 0, 0, 0]
    b = [0, 0, 0, 0, 1, 1, 1, 0, 0, 0]
    assert paired_difference(a, b) == pytest.approx((0.3, math.sqrt(5 - 9 / 10) / 10))
    assert paired_difference(b, a) == pytest.approx((-0.3, math.sqrt(4.1) / 10))


def test_paired_difference_with_ties_and_scores() -> None:
    # d = .5, 0, 1, -.5: mean .25, mean square .375, variance .3125
    assert paired_difference([1, 0.5, 1, 0], [0.5, 0.5, 0, 0.5]) == pytest.approx((0.25, math.sqrt(0.3125 / 4)))
    assert paired_difference([3.0, 3.0], [1.0, 1.0]) == (2.0, 0.0)
    with pytest.raises(ValueError, match="at least one"):
        paired_difference([], [])


def test_several_seeds_takes_the_larger_error() -> None:
    # equal means: pooled sqrt(3 * .09)/3; means 0, 1, 2: sd 1 over sqrt(3)
    assert several_seeds([Difference(1.0, 0.3)] * 3) == pytest.approx((1.0, 0.3 / math.sqrt(3)))
    assert several_seeds([Difference(m, 0.3) for m in (0.0, 1.0, 2.0)]) == pytest.approx((1.0, 1 / math.sqrt(3)))


def test_both_series_are_over_the_same_prompts() -> None:
    with pytest.raises(ValueError, match="same prompts"):
        paired_difference([1.0, 0.0], [1.0])


def test_standard_error() -> None:
    assert standard_error(np.array([1.0, 2.0, 3.0, 4.0, 5.0])) == pytest.approx(math.sqrt(0.5))
    assert standard_error(np.array([7.0])) == 0


def test_z_is_the_mean_in_standard_errors() -> None:
    assert Difference(-0.5, 0.25).z == -2
    assert (Difference(0.5, 0.0).z, Difference(-0.5, 0.0).z, Difference(0.0, 0.0).z) == (math.inf, -math.inf, 0)
