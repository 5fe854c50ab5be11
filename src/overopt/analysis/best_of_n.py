"""Best-of-n: what choosing the best of n candidates by a proxy does to proxy and gold, and where gold stops rising.

Candidates that were scored once give the whole curve without bias: the expectation over every way to draw n of a
prompt's N candidates is a weighted mean of all N. Intervals resample the prompts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from overopt.statistics import Difference, bootstrap, paired_difference

Floats = NDArray[np.float64]

SIGNIFICANCE = 2.0
"""Standard errors from which a paired difference counts."""


@dataclass(frozen=True)
class ScoredPrompt:
    """A prompt's N candidates, scored twice."""

    place: str
    """Where it was read, to be named in messages."""
    proxy: Floats  # (N,)
    gold: Floats  # (N,)


@dataclass(frozen=True)
class ScoredSet:
    """What the readers give: prompts with scored candidates, and how to speak of them."""

    name: str
    prompts: tuple[ScoredPrompt, ...]
    proxy: str = "proxy"
    gold: str = "gold"
    without_kl: str | None = None
    """Why there is no KL axis; None if a prompt's candidates are draws of one policy."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Band:
    """A mean over prompts and its 95 % interval at n = 1, 2, ..."""

    mean: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True)
class BestOfN:
    """The curves of one scored set; index n - 1 belongs to n."""

    proxy: Band
    gold: Band
    ceiling: Floats
    """Gold if gold itself chose: no proxy can do better."""
    gold_of_prompts: Floats  # (prompts, largest n)

    @property
    def largest(self) -> int:
        """The largest n: the fewest candidates that a prompt has."""
        return len(self.ceiling)

    @property
    def peak(self) -> int:
        """The n of the highest mean gold, the smallest of equals."""
        return int(np.argmax(self.gold.mean)) + 1

    def gain(self, n: int, over: int = 1) -> Difference:
        """Mean gold at n less that at another n, paired over the prompts."""
        return paired_difference(self.gold_of_prompts[:, n - 1], self.gold_of_prompts[:, over - 1])

    @property
    def stops_rising(self) -> int:
        """The smallest n of the table from which no larger one adds significantly to gold."""
        ns = shown(self.largest)
        for place, n in enumerate(ns):
            if not any(is_above(self.gain(later, over=n)) for later in ns[place + 1 :]):
                return n
        raise AssertionError("after the largest n there is none")

    @property
    def falls(self) -> bool:
        """Over-optimized: past its peak gold is significantly lower. The proxy cannot fall, by construction."""
        return is_above(self.gain(self.peak, over=self.largest))


def best_of_n(prompts: Sequence[ScoredPrompt], *, resamples: int = 2000, seed: int = 0) -> BestOfN:
    """The curves for every n up to the fewest candidates of a prompt."""
    largest = min(len(prompt.proxy) for prompt in prompts)
    proxy = _expectations([ascending(p.proxy, p.proxy) for p in prompts], largest)
    gold = _expectations([ascending(p.proxy, p.gold) for p in prompts], largest)
    ceiling = _expectations([ascending(p.gold, p.gold) for p in prompts], largest)
    return BestOfN(_band(proxy, resamples, seed), _band(gold, resamples, seed), ceiling.mean(axis=0), gold)


def expected_best(chosen_by: ArrayLike, value: ArrayLike) -> Floats:
    """Expected value of the candidate with the highest score among n drawn without replacement, for n = 1..N.

    Of N candidates in ascending order, the one of rank r is the best of the n drawn in C(r-1, n-1) of C(N, n) cases.
    If the N are independent draws of a policy, this is unbiased for the best of n fresh draws.
    """
    values = ascending(chosen_by, value)
    return _expectations([values], len(values))[0]


def ascending(chosen_by: ArrayLike, value: ArrayLike) -> Floats:
    """Values in the order of the scores; equal scores, of which any may be taken, get the mean of their values."""
    score = np.asarray(chosen_by, dtype=float)
    _, group = np.unique(score, return_inverse=True)
    mean_of_group = np.bincount(group, np.asarray(value, dtype=float)) / np.bincount(group)
    return mean_of_group[np.sort(group)]


def weights(candidates: int, n: int) -> Floats:
    """C(r-1, n-1) / C(N, n) for r = 1..N, by the ratio (r-n)/(r-1) of neighbors, as binomials overflow."""
    r = np.arange(candidates, 1, -1)
    ratios = np.maximum(r - n, 0) / (r - 1)
    descending = n / candidates * np.concatenate([[1.0], np.cumprod(ratios)])
    return descending[::-1]


def kl(n: int) -> float:
    """KL of best-of-n to the policy that drew the candidates, nats: log n - (n-1)/n.

    Exact if draws never repeat, an upper bound otherwise (Beirami et al. 2024).
    """
    return math.log(n) - (n - 1) / n


def shown(largest: int) -> list[int]:
    """The n of a table: all up to 16, then about three for each doubling, and the last."""
    return list(dict.fromkeys([*range(1, min(16, largest) + 1), *_wider(largest), largest]))


def is_above(difference: Difference) -> bool:
    """Above zero, by two standard errors and by more than rounding."""
    return difference.mean > max(SIGNIFICANCE * difference.se, 1e-12)


def _wider(largest: int) -> Iterator[int]:
    base = 16
    while base < largest:
        yield from (n for n in (base, base * 5 // 4, base * 3 // 2) if n < largest)
        base *= 2


def _expectations(values: Sequence[Floats], largest: int) -> Floats:
    """(prompts, largest n), from each prompt's values in the order of its scores; prompts of one N at a time."""
    found = np.empty((len(values), largest))
    sizes = np.array([len(v) for v in values])
    for candidates in np.unique(sizes):
        rows = np.flatnonzero(sizes == candidates)
        together = np.array([values[int(row)] for row in rows])
        for n in range(1, largest + 1):
            found[rows, n - 1] = together @ weights(int(candidates), n)
    return found


def _band(curves: Floats, resamples: int, seed: int) -> Band:
    low, high = bootstrap(curves, resamples=resamples, seed=seed)
    return Band(curves.mean(axis=0), low, high)
