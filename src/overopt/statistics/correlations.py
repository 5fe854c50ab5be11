"""Rank correlations with p-values by permutation: valid for few points and for ties, where asymptotic ones are not."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from overopt.statistics.differences import Floats

CHUNK = 4_000_000
"""How many numbers are held at a time."""


class Correlation(NamedTuple):
    """A rank correlation and its two-sided p-value; NaN and 1 if a series is constant, for it has no ranks."""

    value: float
    p: float


def kendall(x: ArrayLike, y: ArrayLike, *, permutations: int = 9999, seed: int = 0) -> Correlation:
    """Kendall's tau-b: pairs in the same order less pairs in opposite order, over the pairs that are not tied."""
    a, b = _two_series(x, y)
    first, second = np.triu_indices(len(a), k=1)
    signs_a, signs_b = np.sign(a[first] - a[second]), np.sign(b[first] - b[second])
    scale = math.sqrt((signs_a @ signs_a) * (signs_b @ signs_b))
    return _correlation(lambda z: np.sign(z[..., first] - z[..., second]) @ signs_a, b, scale, permutations, seed)


def spearman(x: ArrayLike, y: ArrayLike, *, permutations: int = 9999, seed: int = 0) -> Correlation:
    """Spearman's rho: the linear correlation of the ranks; ties share their mean rank."""
    from scipy.stats import rankdata

    a, b = (rankdata(series) - (len(series) + 1) / 2 for series in _two_series(x, y))
    return _correlation(lambda z: z @ a, b, math.sqrt((a @ a) * (b @ b)), permutations, seed)


def _correlation(
    numerator: Callable[[Floats], Floats], y: Floats, scale: float, permutations: int, seed: int
) -> Correlation:
    """p is the share of the orders of y that correlate at least as strongly as the observed one, which counts.

    All orders are tried if there are at most `permutations`, else so many are drawn; p is never 0.
    """
    from scipy.stats import permutation_test

    if scale == 0:
        return Correlation(math.nan, 1.0)
    test = permutation_test(
        (y,),
        lambda z, axis: np.abs(numerator(z)),
        permutation_type="pairings",
        vectorized=True,
        alternative="greater",
        n_resamples=permutations,
        batch=max(1, CHUNK // len(y) ** 2),
        random_state=np.random.default_rng(seed),
    )
    return Correlation(float(numerator(y)) / scale, float(test.pvalue))


def _two_series(x: ArrayLike, y: ArrayLike) -> tuple[Floats, Floats]:
    a, b = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if a.shape != b.shape or a.ndim != 1 or a.size < 2 or not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("a correlation needs two series of finite numbers, equally long, of at least two")
    return a, b
