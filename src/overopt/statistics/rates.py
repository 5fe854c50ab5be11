"""Win rates and other means of outcomes between 0 and 1, with their intervals.

An outcome is 1 (won), 0 (lost) or 1/2 (tie). Ties are common where a judge is asked in both orders, and Wilson's
interval, which takes the variance p (1 - p) of wins and losses, is then too wide. The intervals here are score
intervals, too: they hold the bounds for the true mean and take the variance that the outcomes would have there, but
with the share of ties that fits the sample best under that mean. Without ties they are Wilson's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

Z = 1.96
"""Standard errors of a 95 % interval."""
HALVINGS = 60
"""Bisections that find a bound to the last digit."""


class Estimate(NamedTuple):
    """A number, its 95 % interval, and how many pairs it rests on."""

    value: float
    low: float
    high: float
    n: int


def wilson(wins: float, n: float, z: float = Z) -> tuple[float, float]:
    """Return the Wilson score interval of wins/n; a tie counts 1/2. Unlike p +- z SE it is not empty at 0 or 1."""
    if n == 0:
        return 0.0, 1.0
    p, shrink = wins / n, 1 + z**2 / n
    center = (p + z**2 / (2 * n)) / shrink
    half_width = z / shrink * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return max(0.0, center - half_width), min(1.0, center + half_width)


def mean_outcome(outcomes: ArrayLike, z: float = Z) -> Estimate | None:
    """Return the mean of outcomes in [0, 1] with `outcomes_interval`; None if there are none."""
    x = np.asarray(outcomes, dtype=float)
    return Estimate(float(x.mean()), *outcomes_interval(x, z), x.size) if x.size else None


def outcomes_interval(outcomes: ArrayLike, z: float = Z) -> tuple[float, float]:
    """Return the score interval of the mean of independent outcomes in [0, 1], such as 0, 1/2 and 1; n of them.

    The bounds m solve (mean - m)^2 = z^2 v(m) / n with v(m) = m (1 - m) - t(m) / 4, the variance of wins, losses and a
    share t(m) of ties, which is the most likely one if the true mean is m. That is the interval of Tango (1998) for
    the difference of paired proportions, moved from [-1, 1] to [0, 1]. Outcomes other than 0, 1/2 and 1 (the mean of
    several judges) count as the wins, ties and losses with the same mean and variance.
    """
    x = np.asarray(outcomes, dtype=float)
    if x.size == 0:
        return 0.0, 1.0
    if x.ndim != 1 or not ((x >= 0) & (x <= 1)).all():
        raise ValueError("outcomes must be a list of numbers from 0 to 1")
    return score_interval(float(x.mean()), float(x.var()), x.size, z)


def score_interval(mean: float, variance: float, n: float, z: float = Z) -> tuple[float, float]:
    """Return the interval of `outcomes_interval` for a mean within [0, 1] whose n units have this variance.

    A variance above mean (1 - mean), which no outcomes have, but a ratio's residuals may have, makes the n smaller.
    """
    binomial = mean * (1 - mean)
    if variance > binomial:
        n_effective = n * binomial / variance
        return wilson(mean * n_effective, n_effective, z)
    ties = min(4 * (binomial - variance), 2 * min(mean, 1 - mean))
    if ties < 1e-12:
        return wilson(mean * n, n, z)

    def is_inside(m: float) -> bool:
        return (mean - m) ** 2 <= z**2 / n * _variance_at(m, mean - ties / 2, ties)

    return _bound(is_inside, mean, 0.0), _bound(is_inside, mean, 1.0)


def _variance_at(m: float, wins: float, ties: float) -> float:
    """The variance of outcomes with the mean m and its most likely share of ties; `wins` and `ties` are shares."""
    losses = 1 - wins - ties
    b = ties + wins * (1 - m) + losses * m
    root = math.sqrt(max(0.0, b**2 - 4 * ties * m * (1 - m)))
    half_of_ties = 2 * ties * m * (1 - m) / (b + root)  # the smaller root of s^2 - b s + ties m (1 - m)
    return max(0.0, m * (1 - m) - half_of_ties / 2)


def _bound(is_inside: Callable[[float], bool], inside: float, outside: float) -> float:
    if is_inside(outside):
        return outside
    for _ in range(HALVINGS):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if is_inside(middle) else (inside, middle)
    return inside
