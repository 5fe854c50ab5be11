"""Rank correlations with p-values by permutation: right for few points and for ties, where asymptotic ones are not."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import permutations as orders_of
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from overopt.statistics.differences import Floats

Orders = NDArray[np.int64]

CHUNK = 4_000_000
"""Numbers held at a time."""


class Correlation(NamedTuple):
    """A rank correlation and its two-sided p-value: NaN and 1 if a series is constant, for it has no ranks."""

    value: float
    p: float


def kendall(x: ArrayLike, y: ArrayLike, *, permutations: int = 9999, seed: int = 0) -> Correlation:
    """Kendall's tau-b: pairs in the same order less pairs in opposite order, over the pairs that are not tied."""
    a, b = _two_series(x, y)
    first, second = np.triu_indices(len(a), k=1)
    signs_a, signs_b = np.sign(a[first] - a[second]), np.sign(b[first] - b[second])
    scale = math.sqrt((signs_a @ signs_a) * (signs_b @ signs_b))

    def numerators(orders: Orders) -> Floats:
        return np.sign(b[orders[:, first]] - b[orders[:, second]]) @ signs_a

    return _with_p(numerators, len(a), scale, len(first), permutations, seed)


def spearman(x: ArrayLike, y: ArrayLike, *, permutations: int = 9999, seed: int = 0) -> Correlation:
    """Spearman's rho: the linear correlation of the ranks, ties sharing their mean rank."""
    from scipy.stats import rankdata

    a, b = (rankdata(series) - (len(series) + 1) / 2 for series in _two_series(x, y))
    scale = math.sqrt((a @ a) * (b @ b))
    return _with_p(lambda orders: b[orders] @ a, len(a), scale, len(a), permutations, seed)


def _with_p(
    numerators: Callable[[Orders], Floats], points: int, scale: float, width: int, permutations: int, seed: int
) -> Correlation:
    """Share of the orders of y that correlate at least as strongly; the observed one counts, so p is never 0."""
    if scale == 0:
        return Correlation(math.nan, 1.0)
    observed = float(numerators(np.arange(points)[None])[0])
    extreme, tried = 0, 0
    for orders in _orders(points, permutations, seed, max(1, CHUNK // width)):
        found = np.abs(numerators(orders))
        extreme += int((found >= abs(observed) - 1e-9 * scale).sum())  # equal ones differ by rounding
        tried += len(found)
    if math.factorial(points) > tried:  # drawn, not enumerated
        extreme, tried = extreme + 1, tried + 1
    return Correlation(observed / scale, extreme / tried)


def _orders(points: int, permutations: int, seed: int, chunk: int) -> Iterator[Orders]:
    """All orders if there are at most `permutations`, else so many drawn ones."""
    if points <= 20 and math.factorial(points) <= permutations:
        yield np.array(list(orders_of(range(points))))
        return
    random = np.random.default_rng(seed)
    for done in range(0, permutations, chunk):
        yield random.permuted(np.tile(np.arange(points), (min(chunk, permutations - done), 1)), axis=1)


def _two_series(x: ArrayLike, y: ArrayLike) -> tuple[Floats, Floats]:
    a, b = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if a.shape != b.shape or a.ndim != 1 or a.size < 2 or not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("a correlation needs two series of finite numbers, equally long, of at least two")
    return a, b
