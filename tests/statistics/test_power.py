import math

import pytest
from scipy.stats import nct, t

from overopt.errors import UserError
from overopt.statistics.power import RULE, STUDENT, Comparison, Test, comparison

TESTS: tuple[Test, ...] = (RULE, STUDENT)
INFINITE = math.inf


def test_standard_error_by_hand() -> None:
    """(0.3^2 + 0.5^2 / 25) / 4 = 0.025; without end of prompts 0.3^2 / 4."""
    found = Comparison(0.1, 0.3, 0.5)
    assert found.se(4, 25) == pytest.approx(math.sqrt(0.025))
    assert found.se(4, INFINITE) == pytest.approx(0.15)


@pytest.mark.parametrize(("effect", "seeds"), [(0.2, 199), (0.5, 34), (0.8, 15)])
def test_the_seeds_of_a_t_test_are_those_of_the_textbook(effect: float, seeds: int) -> None:
    """One-sample t-test, two-sided 5 %, power .8, small, middle and large effects (Cohen; G*Power)."""
    assert Comparison(effect, 1.0, 0.0).seeds_needed(INFINITE, 0.8, STUDENT) == seeds


@pytest.mark.parametrize("seeds", [2, 3, 5, 20])
@pytest.mark.parametrize("difference", [0.0, 0.05, 0.2])
def test_the_t_test_has_the_power_of_the_noncentral_t(seeds: int, difference: float) -> None:
    found = Comparison(difference, 0.1, 0.7)
    least, center = t.isf(0.025, seeds - 1), difference / found.se(seeds, 256)
    expected = nct.sf(least, seeds - 1, center) + nct.cdf(-least, seeds - 1, center)
    assert found.power(seeds, 256, STUDENT) == pytest.approx(expected, abs=5e-4)


def test_false_positives_of_two_standard_errors() -> None:
    """Two seeds that alone decide: P(|t_1| > 2) = 1 - (2 / pi) atan 2; with many seeds P(|Z| > 2) = 0.0455."""
    assert Comparison(0.3, 0.1, 0.0).false_positives(2, 256) == pytest.approx(1 - 2 / math.pi * math.atan(2), abs=5e-4)
    assert Comparison(0.3, 0.1, 0.5).false_positives(4000, 256) == pytest.approx(0.0455, abs=5e-4)
    assert Comparison(0.3, 0.1, 0.0).false_positives(2, 256, STUDENT) == pytest.approx(0.05, abs=5e-4)


def test_a_difference_of_as_many_standard_errors_as_the_rule_asks_for_is_found_half_the_time() -> None:
    found = Comparison(2 * Comparison(0, 0.1, 0.5).se(3000, 100), 0.1, 0.5)
    assert found.power(3000, 100) == pytest.approx(0.5, abs=0.002)


@pytest.mark.parametrize("test", TESTS)
@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
@pytest.mark.parametrize("sd", [0.0, 0.05, 0.2])
def test_closed_form_and_simulation_agree(seeds: int, sd: float, test: Test) -> None:
    """Within three standard errors of 4,000 simulated studies, and one point for counts being whole."""
    for difference in (0.0, 0.05, 0.15):
        found = comparison(difference, sd, 0.4, correlation=0.3)
        expected, simulated = found.power(seeds, 400, test), found.simulate(seeds, 400, test, repeats=4000)
        assert abs(simulated - expected) <= 3 * math.sqrt(max(expected * (1 - expected), 1e-3) / 4000) + 0.01


def test_simulated_studies_are_seeded() -> None:
    found = comparison(0.1, 0.05)
    assert found.simulate(3, 100, seed=1) == found.simulate(3, 100, seed=1) != found.simulate(3, 100, seed=2)


@pytest.mark.parametrize("test", TESTS)
def test_needed_numbers_are_the_least(test: Test) -> None:
    found = comparison(0.1, 0.08, 0.4)
    seeds = found.seeds_needed(200, 0.8, test)
    assert seeds is not None and found.power(seeds, 200, test) >= 0.8 > found.power(seeds - 1, 200, test)
    prompts = found.prompts_needed(12, 0.8, test)
    assert prompts is not None and found.power(12, prompts, test) >= 0.8 > found.power(12, prompts - 1, test)
    least = found.smallest_difference(5, 200, 0.8, test)
    assert least is not None and found.of(least).power(5, 200, test) >= 0.8 > found.of(least - 0.001).power(
        5, 200, test
    )


def test_what_no_number_of_prompts_mends() -> None:
    """Four seeds with a spread of .2 leave a standard error of .1, so .05 is half a standard error away."""
    found = Comparison(0.05, 0.2, 0.7)
    assert found.prompts_needed(4, 0.8) is None
    assert found.power(4, 10**9) == pytest.approx(found.power(4, INFINITE), abs=1e-3)
    assert Comparison(0.0, 0.2, 0.7).seeds_needed(100, 0.8) is None
    assert Comparison(0.9, 0.9, 0.1).smallest_difference(2, 100, 0.8, STUDENT) is None


def test_runs_without_any_spread_are_told_apart_if_they_differ() -> None:
    assert (Comparison(0.1, 0, 0).power(2, 10), Comparison(0.0, 0, 0).power(2, 10)) == (1, 0)


def test_the_spread_over_prompts_by_hand() -> None:
    """Independent wins at .5 and .6: one run alone wins .5 * .6 + .5 * .4 = .5 of the prompts."""
    assert comparison(0.1, 0.2, 0.5).sd_prompts ** 2 == pytest.approx(0.5 - 0.01 - 0.04)
    assert comparison(0.1, 0.2, discordance=0.3).sd_prompts ** 2 == pytest.approx(0.3 - 0.01 - 0.04)
    # a correlation of c at .5 and .5 leaves (1 - c) / 2 of the prompts to one run alone
    assert comparison(0.0, 0.0, correlation=0.6).sd_prompts ** 2 == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((0.1, 0.1, 1.2), {}, "a base win rate of 1.2: expected a share from 0 to 1"),
        ((0.1, 0.1, math.nan), {}, "a base win rate of nan"),
        ((-0.5, 0.1, 0.4), {}, "a base win rate of 0.4 and a difference of -0.5 make -0.1, not a share"),
        ((0.1, -0.1), {}, "a standard deviation over seeds of -0.1: expected 0 or more"),
        ((0.1, math.inf), {}, "a standard deviation over seeds of inf"),
        ((0.1, 0.1), {"correlation": 0.1, "discordance": 0.1}, "one follows from the other"),
        ((0.2, 0.1), {"discordance": 0.1}, "a discordance of 0.1: win rates of 0.5 and 0.7 allow 0.2 to 0.8"),
        ((0.1, 0.1), {"correlation": 2.0}, "a correlation of 2: expected a number from -1 to 1"),
        ((0.3, 0.1), {"correlation": 0.9}, "a correlation of 0.9: win rates of 0.5 and 0.8 allow -0.50 to 0.50"),
        ((0.1, 0.6), {"discordance": 0.2}, "a standard deviation over seeds of 0.6: .* it is at most 0.436"),
    ],
)
def test_numbers_that_no_two_runs_have(arguments: tuple[float, ...], options: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        comparison(*arguments, **options)
