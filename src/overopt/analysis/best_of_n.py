"""Best-of-n curves: proxy and gold of the candidate with the best proxy among n, and where gold stops rising.

N scored candidates of a prompt give the whole curve without bias: the expectation over every way to draw n of them is
a weighted mean of all N. Intervals resample the prompts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from overopt.statistics import Difference, Floats, bootstrap, largest_p, paired_difference, tail

SIGNIFICANCE = 2.0
"""Standard errors that a paired difference must exceed to count."""

NOT_DRAWS = "are not draws of one policy, so no policy's best-of-n is measured and log n - (n-1)/n means nothing"
"""Why a curve has no KL axis; readers put before it where the candidates come from."""


@dataclass(frozen=True)
class ScoredPrompt:
    """Proxy and gold of a prompt's N candidates."""

    place: str
    """Where the prompt was read, for messages."""
    proxy: Floats  # (N,)
    gold: Floats  # (N,)


@dataclass(frozen=True)
class ScoredSet:
    """Prompts with scored candidates, and the names of their scores."""

    name: str
    prompts: tuple[ScoredPrompt, ...]
    proxy: str = "proxy"
    gold: str = "gold"
    without_kl: str | None = None
    """Why there is no KL axis; None if a prompt's candidates are draws of one policy."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Band:
    """The mean over prompts and its 95 % interval, for each n of a curve."""

    mean: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True)
class BestOfN:
    """The curves of a scored set; element i of each belongs to n = ns[i]."""

    ns: tuple[int, ...]
    """Values of n from 1 to the least number of candidates of a prompt."""
    proxy: Band
    gold: Band
    ceiling: Floats
    """Expected gold of the candidate with the best gold: the upper bound of every proxy."""
    gold_of_prompts: Floats  # (prompts, ns)

    @property
    def largest(self) -> int:
        return self.ns[-1]

    @property
    def peak(self) -> int:
        """The n with the highest mean gold; of equals the smallest."""
        return self.ns[int(np.argmax(self.gold.mean))]

    def gain(self, n: int, over: int = 1) -> Difference:
        """Mean gold at n minus that at `over`, paired over the prompts."""
        return paired_difference(*(self.gold_of_prompts[:, self.ns.index(m)] for m in (n, over)))

    def is_clear(self, gain: Difference) -> bool:
        """Whether a difference is above zero by two standard errors and by more than rounding."""
        rounding = 1e-12 * float(np.abs(self.gold_of_prompts).max())
        return gain.mean > max(SIGNIFICANCE * gain.se, rounding)

    @property
    def stops_rising(self) -> int:
        """The smallest n from which no larger one adds significantly to gold.

        As several larger n are tried, a useless proxy seems to gain something in about one set of sixteen.
        """
        return next(
            n
            for place, n in enumerate(self.ns)
            if not any(self.is_clear(self.gain(later, over=n)) for later in self.ns[place + 1 :])
        )

    @property
    def falls(self) -> bool:
        """Whether gold at the largest n is significantly below its peak, allowing for the choice of the best of many n.

        The proxy cannot fall, so this is over-optimization.
        """
        drop = self.gain(self.peak, over=self.largest)
        columns = self.gold_of_prompts - self.gold_of_prompts[:, -1:]
        return self.is_clear(drop) and largest_p(columns, drop.z) <= tail(SIGNIFICANCE)


def best_of_n(prompts: Sequence[ScoredPrompt], *, resamples: int = 2000, seed: int = 0) -> BestOfN:
    """The curves up to the least number of candidates of a prompt."""
    ns = counts_up_to(min(len(prompt.proxy) for prompt in prompts))
    proxy = np.array([expected_best(p.proxy, p.proxy, ns) for p in prompts])
    gold = np.array([expected_best(p.proxy, p.gold, ns) for p in prompts])
    ceiling = np.mean([expected_best(p.gold, p.gold, ns) for p in prompts], axis=0)
    return BestOfN(ns, _band(proxy, resamples, seed), _band(gold, resamples, seed), ceiling, gold)


def expected_best(chosen_by: ArrayLike, value: ArrayLike, ns: tuple[int, ...]) -> Floats:
    """Expected value of the candidate with the highest score among n drawn without replacement, for each n.

    Of N candidates in ascending order, the one of rank r is the best of the n drawn in C(r-1, n-1) of C(N, n) cases.
    If the N are independent draws of a policy, this is unbiased for the best of n fresh draws.
    """
    values = ascending(chosen_by, value)
    return weights(len(values), ns) @ values


def ascending(chosen_by: ArrayLike, value: ArrayLike) -> Floats:
    """Values in ascending order of their scores; candidates of equal score get the mean of their values."""
    _, group = np.unique(np.asarray(chosen_by, dtype=float), return_inverse=True)
    mean_of_group = np.bincount(group, np.asarray(value, dtype=float)) / np.bincount(group)
    return mean_of_group[np.sort(group)]


@lru_cache(maxsize=4)
def weights(candidates: int, ns: tuple[int, ...]) -> Floats:
    """C(r-1, n-1) / C(N, n) for each n and r = 1..N, by the ratio (r-n)/(r-1) of neighbors, as binomials overflow."""
    n, r = np.array(ns)[:, None], np.arange(candidates, 1, -1)
    ratios = np.maximum(r - n, 0) / (r - 1)
    descending = n / candidates * np.cumprod(np.hstack([np.ones_like(n), ratios]), axis=1)
    return descending[:, ::-1]


def kl(n: int) -> float:
    """KL of best-of-n to the policy that drew the candidates, nats: log n - (n-1)/n.

    Exact if draws never repeat, an upper bound otherwise (Beirami et al. 2024).
    """
    return math.log(n) - (n - 1) / n


def counts_up_to(largest: int) -> tuple[int, ...]:
    """The values of n of a curve: all up to 16, then three for each doubling, and the last."""
    later = (2**power * quarters // 4 for power in range(4, largest.bit_length()) for quarters in (5, 6, 8))
    return (*(n for n in (*range(1, 17), *later) if n < largest), largest)


def _band(curves: Floats, resamples: int, seed: int) -> Band:
    low, high = bootstrap(curves, resamples=resamples, seed=seed)
    return Band(curves.mean(axis=0), low, high)
