"""Start, end and trend of a series that holds one value per update. "se" is the standard error of a mean.

How much such a series changes by chance depends on the autocorrelation of its noise: see `persistence.py`.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from overopt.statistics.differences import Floats, standard_error
from overopt.statistics.maxima import tail
from overopt.statistics.persistence import contrast_error, tau_p

BLOCKS = 50
"""The most blocks over which a series is averaged before its noise is estimated."""


class StartEnd(NamedTuple):
    """Means of a series' first and last points, with their standard errors."""

    start: float
    end: float
    se_start: float
    se_end: float

    @property
    def se(self) -> float:
        """The standard error of end - start, if the points were independent."""
        return math.hypot(self.se_start, self.se_end)


class Trend(NamedTuple):
    """Kendall's tau of a series against its steps, and its two-sided p-value among equally autocorrelated noise."""

    tau: float
    p: float


def start_end(values: ArrayLike) -> StartEnd:
    """Return means of the first and the last max(5, 5 %) points; standard errors are sd/sqrt(count) of those points."""
    z = np.asarray(values, dtype=float)
    if z.size == 0:
        raise ValueError("an empty series has neither start nor end")
    count = _outer(z.size)
    first, last = z[:count], z[-count:]
    return StartEnd(float(first.mean()), float(last.mean()), standard_error(first), standard_error(last))


def _outer(size: int) -> int:
    """Return how many points count as the start, and as the end."""
    return min(size, max(5, math.ceil(0.05 * size)))


def rise(values: ArrayLike) -> bool:
    """Return whether the end exceeds the start by two standard errors, which allow for autocorrelated noise.

    Two of a normal distribution, hence more of Student's t where few blocks estimate the noise. Fewer than six points
    never rise.
    """
    z = np.asarray(values, dtype=float)
    s = start_end(z)
    if z.size < 6 or not s.end > s.start:
        return False
    from scipy.stats import t

    outer, blocks = _outer(z.size), min(z.size, BLOCKS)
    block = np.arange(z.size) * blocks // z.size
    counts = np.bincount(block)
    ends = (np.bincount(block[-outer:], minlength=blocks) - np.bincount(block[:outer], minlength=blocks)) / outer
    se = contrast_error(np.bincount(block, z) / counts, ends, averaged=blocks < z.size)
    return s.end - s.start > float(t.isf(tail(2.0), blocks - 2)) * se


def fall(values: ArrayLike) -> bool:
    """Return whether the series falls: the mirror image of `rise`."""
    return rise(-np.asarray(values, dtype=float))


def kendall_trend(steps: ArrayLike, values: ArrayLike, bins: int = 50, skip: float = 0.1) -> Trend:
    """Return Kendall's tau after averaging into bins, without the first `skip` of training. Too few points: no trend.

    p is the larger of Kendall's own p and that among noise as autocorrelated as the bins' means (`tau_p`).
    """
    x, z = binned(steps, values, bins, skip)
    if len(x) < 2:
        return Trend(0.0, 1.0)
    from scipy.stats import kendalltau

    tau, p = kendalltau(x, z)
    if not math.isfinite(tau):  # the series is constant
        return Trend(0.0, 1.0)
    return Trend(float(tau), max(float(p), tau_p(float(tau), z)))


def direction(trend: Trend, tau: float = 0.3, p: float = 0.01) -> Literal["up", "down", "none"]:
    """Return a trend in a word, if it is both strong and unlikely to be chance."""
    if trend.p >= p or abs(trend.tau) < tau:
        return "none"
    return "up" if trend.tau > 0 else "down"


def binned(axis: ArrayLike, values: ArrayLike, bins: int = 50, skip: float = 0.1) -> tuple[Floats, Floats]:
    """Return means of axis and values in bins of equal width, without empty bins.

    The first `skip` of the axis is dropped, and there are at most a quarter as many bins as points remain.
    """
    x, z = _series(axis, values)
    kept = _place(x) >= skip
    x, z = x[kept], z[kept]
    bins = max(1, min(bins, len(x) // 4))
    bin_of_point = np.minimum((_place(x) * bins).astype(int), bins - 1)
    counts = np.bincount(bin_of_point, minlength=bins)
    filled = counts > 0

    def means(v: Floats) -> Floats:
        return np.bincount(bin_of_point, v, bins)[filled] / counts[filled]

    return means(x), means(z)


def _series(axis: ArrayLike, values: ArrayLike) -> tuple[Floats, Floats]:
    x, z = np.asarray(axis, dtype=float), np.asarray(values, dtype=float)
    if x.shape != z.shape or x.ndim != 1 or x.size == 0:
        raise ValueError("a series needs as many values as steps, at least one")
    return x, z


def _place(x: Floats) -> Floats:
    """Return positions on the axis: 0 at its start, 1 at its end."""
    width = x.max() - x.min()
    return (x - x.min()) / width if width > 0 else np.zeros_like(x)
