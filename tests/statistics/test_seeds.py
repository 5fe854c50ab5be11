import inspect

import numpy as np
import pytest
from scipy import stats

from overopt.statistics import bootstrap, interquartile_mean, seeds_interval

random = np.random.default_rng(0)
SAMPLE = random.exponential(size=40)


def test_interquartile_mean_by_hand() -> None:
    assert interquartile_mean([100, 2, 4, -50]) == 3  # the middle two
    assert interquartile_mean([9, 1, 5, 4, 3]) == 4  # one left out at each end
    assert interquartile_mean([1, 2, 6]) == 3  # too few to leave one out
    assert interquartile_mean([[1, 10], [2, 20], [3, 30], [99, 0]]).tolist() == [2.5, 15]


@pytest.mark.parametrize("count", [4, 7, 10, 40])
def test_interquartile_mean_is_scipys_trimmed_mean(count: int) -> None:
    assert interquartile_mean(SAMPLE[:count]) == pytest.approx(stats.trim_mean(SAMPLE[:count], 0.25))


def test_bootstrap_of_two_units() -> None:
    # the mean of two draws from {0, 1} is 0, 1/2 or 1 with probability 1/4, 1/2, 1/4
    assert bootstrap([0.0, 1.0]) == (0, 1)
    assert bootstrap([0.0, 1.0], level=0.4) == (0.5, 0.5)
    assert bootstrap([3.0, 3.0]) == (3, 3)


@pytest.mark.parametrize("statistic", [None, interquartile_mean])
def test_bootstrap_agrees_with_scipys(statistic: object) -> None:
    stream = "rng" if "rng" in inspect.signature(stats.bootstrap).parameters else "random_state"  # before scipy 1.15
    reference = stats.bootstrap(
        (SAMPLE,),
        lambda z: np.mean(z) if statistic is None else interquartile_mean(z),
        method="percentile",
        vectorized=False,
        n_resamples=4000,
        **{stream: np.random.default_rng(1)},
    )
    low, high = bootstrap(SAMPLE, statistic, resamples=4000)  # type: ignore[arg-type]
    assert (low, high) == pytest.approx(tuple(reference.confidence_interval), abs=0.03)


def test_the_mean_is_resampled_as_any_statistic() -> None:
    assert bootstrap(SAMPLE) == pytest.approx(bootstrap(SAMPLE, lambda z: z.mean(axis=0)))


def test_bootstrap_is_seeded() -> None:
    assert bootstrap(SAMPLE, seed=3) == bootstrap(SAMPLE, seed=3)
    assert bootstrap(SAMPLE, seed=3) != bootstrap(SAMPLE, seed=4)


def test_bootstrap_of_curves_resamples_whole_curves() -> None:
    # the second column is the first one's negative: resampled together, so are its bounds
    low, high = bootstrap(np.stack([SAMPLE, -SAMPLE], axis=1))
    assert low.shape == (2,)
    assert (low[1], high[1]) == pytest.approx((-high[0], -low[0]))
    alone = bootstrap(SAMPLE)
    assert (low[0], high[0]) == pytest.approx(alone)


def test_nothing_has_no_interval() -> None:
    for summarize in (bootstrap, interquartile_mean):
        with pytest.raises(ValueError, match="at least one"):
            summarize([])


@pytest.mark.parametrize("count", [2, 3, 5, 9])
def test_the_interval_of_a_mean_is_students(count: int) -> None:
    z = SAMPLE[:count]
    expected = stats.t.interval(0.95, count - 1, loc=np.mean(z), scale=stats.sem(z))
    assert seeds_interval(z) == pytest.approx(expected)


def test_the_interval_of_an_interquartile_mean_by_hand() -> None:
    # 1, 4, 5 are kept, and the outer two moved to them: 1, 1, 4, 5, 5: squares about their mean 16.8, over 3 * 2
    low, high = seeds_interval([9, 1, 5, 4, -7], trimmed=True)
    half_width = 4.302653 * np.sqrt(16.8 / 6)
    assert (low, high) == pytest.approx((10 / 3 - half_width, 10 / 3 + half_width))
    assert seeds_interval([1.0, 2, 6], trimmed=True) == pytest.approx(seeds_interval([1.0, 2, 6])), "none is left out"


def test_intervals_of_curves_and_of_a_single_seed() -> None:
    low, high = seeds_interval(np.stack([SAMPLE, -SAMPLE], axis=1), trimmed=True)
    assert low[0] == pytest.approx(-high[1])
    assert np.isnan(seeds_interval([1.0])).all()


def test_intervals_over_few_seeds_cover_what_they_promise() -> None:
    random = np.random.default_rng(0)
    for count in (3, 5, 10, 20):
        for trimmed in (False, True):
            bounds = seeds_interval(random.standard_normal((count, 20_000)), trimmed=trimmed)
            assert 0.93 <= np.mean((bounds.low <= 0) & (bounds.high >= 0)) <= 0.97
