"""The estimator against every way to draw, and what is read off its curve."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from overopt.analysis.best_of_n import ScoredPrompt, ascending, best_of_n, counts_up_to, expected_best, kl, weights
from overopt.statistics import paired_difference

random = np.random.default_rng(0)


def by_enumeration(proxy: list[float], gold: list[float], n: int) -> float:
    """Mean over all subsets of n candidates; in each, over all that have the highest proxy."""
    subsets = list(itertools.combinations(range(len(proxy)), n))
    total = 0.0
    for subset in subsets:
        best = [i for i in subset if proxy[i] == max(proxy[j] for j in subset)]
        total += sum(gold[i] for i in best) / len(best)
    return total / len(subsets)


@pytest.mark.parametrize("candidates", [1, 2, 4, 7])
@pytest.mark.parametrize("levels", [1000, 3], ids=["distinct", "ties"])
def test_it_is_the_mean_over_every_subset(candidates: int, levels: int) -> None:
    proxy = random.integers(levels, size=candidates).astype(float).tolist()
    gold = random.normal(size=candidates).tolist()
    for values in (gold, proxy):
        ns = tuple(range(1, candidates + 1))
        expected = [by_enumeration(proxy, values, n) for n in ns]
        assert expected_best(proxy, values, ns).tolist() == pytest.approx(expected)


def test_by_hand() -> None:
    # n = 2 of three: the pairs (1, 2), (1, 3), (2, 3) take 2, 3, 3
    assert expected_best([1, 2, 3], [10, 20, 0], (1, 2, 3)).tolist() == pytest.approx([10, 20 / 3, 0])
    # the two best are equal: n = 2 takes 20 | 0, 20 | 0, or either of them
    assert expected_best([1, 2, 2], [10, 20, 0], (1, 2, 3)).tolist() == pytest.approx([10, 10, 10])


def test_the_last_is_the_argmax_and_the_first_the_mean() -> None:
    proxy, gold = random.normal(size=(2, 50))
    assert expected_best(proxy, gold, (1, 50)) == pytest.approx([gold.mean(), gold[proxy.argmax()]])


def test_it_is_unbiased_for_fresh_draws() -> None:
    # candidates are fair dice, proxy = gold: the best of two shows 161/36 on average
    rolls = itertools.product(range(1, 7), repeat=3)
    assert np.mean([expected_best(roll, roll, (2,)) for roll in rolls]) == pytest.approx(161 / 36)


def test_order_does_not_matter() -> None:
    assert ascending([3, 1, 2, 1], [30, 10, 20, 0]).tolist() == [5, 5, 20, 30]


@pytest.mark.parametrize(("candidates", "ns"), [(1, (1,)), (14, (5, 6)), (40, (40,)), (3000, (2, 1500, 2999))])
def test_weights_are_ratios_of_binomials(candidates: int, ns: tuple[int, ...]) -> None:
    for n, found in zip(ns, weights(candidates, ns), strict=True):
        assert found.sum() == pytest.approx(1)
        for r in {1, max(1, candidates // 2), candidates}:
            assert found[r - 1] == pytest.approx(math.comb(r - 1, n - 1) / math.comb(candidates, n))


def test_kl() -> None:
    assert kl(1) == 0
    assert kl(2) == pytest.approx(math.log(2) - 0.5)
    # of k equally likely outcomes the best of n is outcome r with probability (r^n - (r-1)^n)/k^n: many outcomes
    k, n = 2000, 5
    best = np.diff(np.arange(k + 1) ** n / k**n)
    assert float(best @ np.log(best * k)) == pytest.approx(kl(n), abs=1e-3)


def test_the_n_of_a_curve() -> None:
    assert counts_up_to(3) == (1, 2, 3)
    assert counts_up_to(16) == tuple(range(1, 17))
    assert counts_up_to(17) == tuple(range(1, 18))
    assert counts_up_to(64)[15:] == (16, 20, 24, 32, 40, 48, 64)
    assert counts_up_to(70)[-2:] == (64, 70)
    assert len(counts_up_to(60_000)) < 60


def prompts_of(proxy: np.ndarray, gold: np.ndarray) -> list[ScoredPrompt]:
    return [ScoredPrompt(f"file:{i}", p, g) for i, (p, g) in enumerate(zip(proxy, gold, strict=True), start=1)]


def test_curves_are_means_over_prompts_with_an_interval() -> None:
    prompts = [
        ScoredPrompt("a:1", np.array([1.0, 2.0]), np.array([0.0, 1.0])),
        ScoredPrompt("a:2", np.array([5.0, 4.0, 3.0]), np.array([0.0, 3.0, 6.0])),
    ]
    curve = best_of_n(prompts)
    assert (curve.ns, curve.largest) == ((1, 2), 2), "up to the fewest candidates of a prompt"
    assert curve.proxy.mean.tolist() == pytest.approx([2.75, (2 + 14 / 3) / 2])
    assert curve.gold.mean.tolist() == pytest.approx([1.75, (1 + 1) / 2])
    assert curve.ceiling.tolist() == pytest.approx([1.75, (1 + 5) / 2])
    assert (curve.gold.low[0], curve.gold.high[0]) == pytest.approx((0.5, 3)), "two prompts: from one to the other"
    assert curve.gain(2) == pytest.approx(paired_difference([1, 1], [0.5, 3]))
    assert best_of_n(prompts) is not curve and best_of_n(prompts).gold.low.tolist() == curve.gold.low.tolist()


def test_a_good_proxy_rises_to_the_end() -> None:
    proxy = random.normal(size=(200, 8))
    curve = best_of_n(prompts_of(proxy, 2 * proxy), resamples=50)
    assert (curve.peak, curve.stops_rising, curve.falls) == (8, 8, False)
    assert curve.gold.mean == pytest.approx(curve.ceiling)


def test_a_hacked_proxy_peaks_and_falls() -> None:
    # one candidate in eight is worthless and looks best; the others are as good as they look
    proxy = random.random(size=(300, 8))
    gold = proxy.copy()
    proxy[:, 0], gold[:, 0] = 9.0, 0.0
    curve = best_of_n(prompts_of(proxy, gold), resamples=50)
    # n = 2: 3/4 (2/3) = .5 against 7/16; n = 3: 5/8 (3/4) = .469; n = 8: 0
    assert curve.gold.mean[[0, 1, 2, 7]] == pytest.approx([7 / 16, 0.5, 15 / 32, 0], abs=0.02)
    assert (curve.peak, curve.stops_rising, curve.falls) == (2, 2, True)


def test_a_useless_proxy_buys_nothing() -> None:
    curve = best_of_n(prompts_of(*random.normal(size=(2, 100, 6))), resamples=50)
    assert curve.stops_rising == 1
    assert not curve.falls


@pytest.mark.parametrize("gold", [0.1, -1234.1, 1e50])
def test_all_candidates_equal(gold: float) -> None:
    curve = best_of_n(prompts_of(np.ones((3, 14)), np.full((3, 14), gold)), resamples=10)
    assert curve.gold.mean == pytest.approx([gold] * 14)
    assert curve.stops_rising == 1, "what differs by rounding is no rise"
    assert not curve.falls, "nor a fall"
