"""The p-value of the largest of several means over the same units: the more means, the larger it is by chance."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

DRAWS = 4000
RIDGE = 1e-8
"""Added to the diagonal of the correlations, since columns may be equal."""


def tail(z: float) -> float:
    """Return P(Z >= z) for a standard normal Z."""
    return 0.5 * math.erfc(z / math.sqrt(2))


def largest_p(columns: ArrayLike, z: float, *, draws: int = DRAWS, seed: int = 0) -> float:
    """Return P(max_k Z_k >= z): the chance that one of K means is z standard errors above 0 although all are 0.

    `columns` is (units, K), NaN where a unit is absent. Z is normal with the correlation that the columns have over
    their units, which is what resampling the units jointly gives; as P = K P(Z_1 >= z) E[1/N], N the number of the
    Z_j at or above z where one of them, each as often, is known to be. So one column gives `tail(z)` exactly, and
    small p are as accurate as large ones: to 1 % or 2. The draws are seeded: the same columns give the same p.
    """
    d = np.asarray(columns, dtype=float)
    d = d - np.nanmean(d, axis=0)
    d[np.isnan(d)] = 0.0
    norm = np.sqrt((d**2).sum(axis=0))
    d = d[:, norm > 0] / norm[norm > 0]
    count = d.shape[1]
    if count <= 1 or tail(z) == 0:
        return tail(z)
    correlation = d.T @ d
    each = -(-draws // count)
    known = np.tile(np.arange(count), each)
    random = np.random.default_rng(seed)
    z_BK = random.standard_normal((len(known), count)) @ np.linalg.cholesky(correlation + RIDGE * np.eye(count)).T
    rows = np.arange(len(known))
    shift = _above(z, each).repeat(count) - z_BK[rows, known]
    z_BK += shift[:, None] * correlation[known]
    reached = z_BK >= z
    reached[rows, known] = True
    return float(min(1.0, count * tail(z) * (1 / reached.sum(axis=1)).mean()))


def _above(z: float, count: int) -> np.ndarray:
    """Return evenly spaced quantiles of a standard normal truncated to values of at least z."""
    normal, above = NormalDist(), tail(z)
    return np.array([-normal.inv_cdf((i + 0.5) / count * above) for i in range(count)])
