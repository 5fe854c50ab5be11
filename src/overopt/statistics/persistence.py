"""Autocorrelation of a series' noise, so that a random walk is not taken for a trend.

The noise model is z_t = phi z_(t-1) + e_t: phi 0 is independent noise, phi 1 a random walk. Estimates of phi err on the
high side.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from overopt.statistics.differences import Floats

MARGIN = 1.25
"""Standard errors by which the estimate of phi is raised."""
MARGIN_OF_A_CONTRAST = 2.0
"""The same where start and end are compared, for which an underestimated phi does most harm."""
DRAWS = 2000


def persistence(values: ArrayLike, margin: float = MARGIN) -> float:
    """Return phi, raised by `margin` standard errors, within [0, 1]: 1 + 2 r + margin 2/sqrt(n).

    r is the correlation of consecutive increments, -(1 - phi)/2 in such noise. A trend hardly
    affects it: it adds a constant to the increments. With fewer than four points phi is 1.
    """
    z = np.asarray(values, dtype=float)
    if z.size < 4:
        return 1.0
    d = np.diff(z)
    d = d - d.mean()
    if math.sqrt(d @ d) <= 1e-9 * float(np.abs(z).max()):  # a line, to rounding
        return 0.0
    phi = 1 + 2 * (d[1:] @ d[:-1]) / (d @ d) + margin * 2 / math.sqrt(z.size)
    return float(min(1.0, max(0.0, phi)))


def contrast_error(values: ArrayLike, weights: ArrayLike, averaged: bool = False) -> float:
    """Return the standard error of sum_t w_t z_t for weights that sum to 0, of a series without a trend.

    By its variogram: E(z_t - z_s)^2 = v (1 + phi + ... + phi^(|t-s|-1)), v the variance of an increment. Where values
    are means of several points each, a walk's increments vary by a third less than its steps between: v (1 + phi/2).
    """
    z, w = np.asarray(values, dtype=float), np.asarray(weights, dtype=float)
    phi = persistence(z, MARGIN_OF_A_CONTRAST)
    variance = float(np.diff(z).var(ddof=1)) * (1 + averaged * phi / 2)
    sums = np.concatenate([[0.0], np.cumsum(phi ** np.arange(z.size - 1))])
    distance = np.abs(np.subtract.outer(np.arange(z.size), np.arange(z.size)))
    return math.sqrt(max(0.0, -0.5 * variance * float(w @ sums[distance] @ w)))


def tau_p(tau: float, values: ArrayLike) -> float:
    """Return how often Kendall's tau of such noise against time is at least as far from 0, by seeded simulation."""
    phi = math.ceil(persistence(values) * 20) / 20
    found = _taus(np.size(values), phi)
    return float((np.count_nonzero(found >= abs(tau) - 1e-9) + 1) / (found.size + 1))


@lru_cache(maxsize=128)
def _taus(count: int, phi: float) -> Floats:
    random = np.random.default_rng(0)
    z = random.standard_normal((count, DRAWS))
    z[0] /= math.sqrt(1 - phi**2) if phi < 1 else 1.0
    for t in range(1, count):
        z[t] += phi * z[t - 1]
    ordered = sum(np.sign(z[t + 1 :] - z[t]).sum(axis=0) for t in range(count - 1))
    return np.abs(np.asarray(ordered)) / (count * (count - 1) / 2)
