"""Intervals, paired differences and trends, as every label and claim uses them. numpy; scipy only where it is needed.

A series holds one value per update. "se" is a standard error, always of a mean.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


class Difference(NamedTuple):
    """A mean and its standard error."""

    mean: float
    se: float


class StartEnd(NamedTuple):
    """Means of a series' first and last points, with their standard errors."""

    start: float
    end: float
    se_start: float
    se_end: float

    @property
    def se(self) -> float:
        """Of end - start."""
        return math.hypot(self.se_start, self.se_end)


class Trend(NamedTuple):
    """Kendall's tau of a series against its steps, and the two-sided p-value."""

    tau: float
    p: float


def wilson(wins: float, n: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson score interval of wins/n, ties count 1/2: within [0, 1], and not empty at 0 or 1 as p +- z SE is."""
    if n == 0:
        return 0.0, 1.0
    p, shrink = wins / n, 1 + z**2 / n
    center = (p + z**2 / (2 * n)) / shrink
    half_width = z / shrink * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return max(0.0, center - half_width), min(1.0, center + half_width)


def win_rate_se(wins: float, n: int) -> float:
    """sqrt(p (1 - p) / n)."""
    return math.sqrt(wins / n * (1 - wins / n) / n)


def paired_difference(a: ArrayLike, b: ArrayLike) -> Difference:
    """Mean of a - b over the same prompts, and its standard error sqrt((mean(d^2) - mean(d)^2) / n).

    For wins and losses that is McNemar's sqrt(b + c - (b - c)^2 / n) / n with discordant counts b and c; it holds for
    ties (1/2) and for scores as well.
    """
    d = np.asarray(a, dtype=float) - np.asarray(b, dtype=float)
    if d.ndim != 1 or d.size == 0:
        raise ValueError("a paired difference needs two series over the same prompts, at least one")
    return Difference(float(d.mean()), float(d.std() / math.sqrt(d.size)))


def several_seeds(differences: Sequence[Difference]) -> Difference:
    """Mean over seeds, with the larger of the pooled standard error and that of the spread between the seeds."""
    means = np.array([d.mean for d in differences])
    pooled = math.sqrt(sum(d.se**2 for d in differences)) / len(differences)
    return Difference(float(means.mean()), max(pooled, _standard_error(means)))


def start_end(values: ArrayLike) -> StartEnd:
    """Means over the first and the last max(5, 5 %) points; standard errors are sd/sqrt(count) of those points."""
    z = np.asarray(values, dtype=float)
    if z.size == 0:
        raise ValueError("an empty series has neither start nor end")
    count = min(z.size, max(5, math.ceil(0.05 * z.size)))
    first, last = z[:count], z[-count:]
    return StartEnd(float(first.mean()), float(last.mean()), _standard_error(first), _standard_error(last))


def rise(values: ArrayLike) -> bool:
    """Whether the end exceeds the start by more than two standard errors."""
    s = start_end(values)
    return s.end - s.start > 2 * s.se


def fall(values: ArrayLike) -> bool:
    """The mirror image of `rise`."""
    return rise(-np.asarray(values, dtype=float))


def kendall_trend(steps: ArrayLike, values: ArrayLike, bins: int = 50, skip: float = 0.1) -> Trend:
    """Kendall's tau after averaging into bins; the first `skip` of training is dropped. Too few points: no trend."""
    x, z = binned(steps, values, bins, skip)
    if len(x) < 2:
        return Trend(0.0, 1.0)
    from scipy.stats import kendalltau

    tau, p = kendalltau(x, z)
    return Trend(float(tau), float(p)) if math.isfinite(tau) else Trend(0.0, 1.0)  # NaN: the series is constant


def direction(trend: Trend, tau: float = 0.3, p: float = 0.01) -> Literal["up", "down", "none"]:
    """A trend in a word, if it is both strong and unlikely to be chance."""
    if trend.p >= p or abs(trend.tau) < tau:
        return "none"
    return "up" if trend.tau > 0 else "down"


def half(axis: ArrayLike, values: ArrayLike) -> float:
    """Mean over the middle (45-55 %) of the axis over the end's: about .5 for linear growth from 0, 1 if saturated."""
    x, z = _series(axis, values)
    place = _place(x)
    middle = z[(place >= 0.45) & (place <= 0.55)]
    if middle.size == 0:
        raise ValueError("no point lies in the middle tenth of the axis")
    return float(middle.mean() / start_end(z).end)


def late_early(axis: ArrayLike, values: ArrayLike) -> float:
    """Least-squares slope over the axis' last third over that of its first: 1 for linear growth, 0 if saturated."""
    x, z = _series(axis, values)
    place = _place(x)
    early, late = place <= 1 / 3, place >= 2 / 3
    return _slope(x[late], z[late]) / _slope(x[early], z[early])


def r2_linear(axis: ArrayLike, values: ArrayLike, bins: int = 50, skip: float = 0.1) -> float:
    """Share of the binned series' variance that a straight line explains."""
    x, z = binned(axis, values, bins, skip)
    residual = z - z.mean() - _slope(x, z) * (x - x.mean())
    return float(1 - residual @ residual / ((z - z.mean()) @ (z - z.mean())))


def binned(axis: ArrayLike, values: ArrayLike, bins: int = 50, skip: float = 0.1) -> tuple[Floats, Floats]:
    """Means of axis and values in bins of equal width, empty ones left out.

    The first `skip` of the axis is dropped, and there are at most a quarter as many bins as points remain.
    """
    x, z = _series(axis, values)
    kept = _place(x) >= skip
    x, z = x[kept], z[kept]
    bins = max(1, min(bins, len(x) // 4))
    bin_of_point = np.minimum((_place(x) * bins).astype(int), bins - 1)
    counts = np.bincount(bin_of_point, minlength=bins)
    filled = counts > 0
    return tuple(np.bincount(bin_of_point, v, bins)[filled] / counts[filled] for v in (x, z))  # type: ignore[return-value]


def _series(axis: ArrayLike, values: ArrayLike) -> tuple[Floats, Floats]:
    x, z = np.asarray(axis, dtype=float), np.asarray(values, dtype=float)
    if x.shape != z.shape or x.ndim != 1 or x.size == 0:
        raise ValueError("a series needs as many values as steps, at least one")
    return x, z


def _place(x: Floats) -> Floats:
    """Position on the axis: 0 at its start, 1 at its end."""
    width = x.max() - x.min()
    return (x - x.min()) / width if width > 0 else np.zeros_like(x)


def _slope(x: Floats, z: Floats) -> float:
    dx = x - x.mean()
    return float(dx @ z / (dx @ dx))


def _standard_error(points: Floats) -> float:
    return float(points.std(ddof=1) / math.sqrt(points.size)) if points.size > 1 else 0.0
