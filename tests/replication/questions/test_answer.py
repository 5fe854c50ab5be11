import math

import pytest

from overopt.replication.questions.answer import Estimate, listed, not_tested, over_seeds


def test_a_mean_over_three_seeds_with_students_interval() -> None:
    found = over_seeds([1.0, 2.0, 3.0])  # sd 1, t(2 degrees) = 4.3027, half width 4.3027 / sqrt(3) = 2.484
    assert found.mean == 2 and found.seeds == 3
    assert (found.low, found.high) == pytest.approx((-0.484, 4.484), abs=1e-3)
    assert found.sign == 0 and found.text() == "+2.00 [-0.48, +4.48]"
    assert found.row() == {"mean": 2.0, "low": found.low, "high": found.high, "seeds": 3}


@pytest.mark.parametrize(("low", "high", "sign"), [(0.1, 0.3, 1), (-0.3, -0.1, -1), (-0.1, 0.3, 0)])
def test_the_sign_is_that_of_the_whole_interval(low: float, high: float, sign: int) -> None:
    assert Estimate((low + high) / 2, low, high, 3).sign == sign


def test_one_seed_has_no_interval_and_no_sign() -> None:
    found = over_seeds([-0.5])
    assert math.isnan(found.low) and found.sign == 0
    assert found.text() == "-0.50 (one seed)" and found.row() == {"mean": -0.5, "seeds": 1}


def test_words() -> None:
    assert [listed([]), listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])] == [
        "none",
        "a",
        "a and b",
        "a, b and c",
    ]
    assert not_tested("n", "Why?", "no runs").paragraph == "Not tested: no runs."
