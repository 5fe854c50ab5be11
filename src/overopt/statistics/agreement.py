"""How well a judge agrees with human labels or with another judge, and how far the order of two texts sways it.

Outcomes are 1, 1/2 or 0 as ever, of the same pairs on both sides; the unit of all intervals is the pair, so a judge's
two replies to one pair are never taken for independent.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from overopt.statistics.differences import Floats
from overopt.statistics.rates import Estimate, mean_outcome, score_interval, wilson


def agreement(a: ArrayLike, b: ArrayLike) -> Estimate | None:
    """Return the mean of 1 - |a - b|: the share of equal outcomes, where a tie against a win or loss counts 1/2.

    Against human labels of 0 and 1 that is the accuracy, with a tie as half right. None without pairs.
    """
    x, y = _two(a, b)
    return mean_outcome(1 - np.abs(x - y))


def kappa(a: ArrayLike, b: ArrayLike) -> Estimate | None:
    """Return Cohen's kappa, (A - E) / (1 - E): the agreement A in excess of E, that of independent outcomes.

    E is the mean agreement over all ways to combine an outcome of `a` with one of `b`. With ties that is the linearly
    weighted kappa (Cohen 1968). The variance is the large-sample one of Fleiss, Cohen and Everitt (1969), used at the
    agreement's scale, on which a score interval holds near 1, too: interval (L - E) / (1 - E) to (U - E) / (1 - E).
    None without pairs, or if both say the same of every pair, so that chance alone would agree.
    """
    x, y = _two(a, b)
    if x.size == 0:
        return None
    agree = 1 - np.abs(x - y)
    of_x, of_y = _mean_agreement(x, y), _mean_agreement(y, x)
    observed, expected = float(agree.mean()), float(of_x.mean())
    if expected >= 1:
        return None
    # kappa's influence function times 1 - E: how each pair moves A, less how it moves E
    moves = agree - (1 - observed) / (1 - expected) * (of_x + of_y)
    bounds = score_interval(observed, float(moves.var()), x.size)
    value, low, high = ((share - expected) / (1 - expected) for share in (observed, *bounds))
    return Estimate(value, max(-1.0, low), high, x.size)


def position_bias(first: ArrayLike) -> Estimate | None:
    """Return by how much the share of valid replies that prefer the first text exceeds 1/2; from -1/2 to 1/2.

    `first` has a row for each pair and a column for each order: 1 if the reply prefers the text that stands first, 0
    the second, 1/2 neither, NaN if there is no valid reply. A pair's replies count together: a judge that looks at the
    texts alone prefers the first in one of the two orders, so its share is exactly 1/2, and its interval is narrow.
    """
    replies = _replies(first)
    counts = np.isfinite(replies).sum(axis=1)
    counts, sums = counts[counts > 0], np.nansum(replies, axis=1)[counts > 0]
    if counts.size == 0:
        return None
    share = float(sums.sum() / counts.sum())
    residuals = (sums - share * counts) / counts.mean()  # those of a ratio: pairs may have one valid reply or two
    low, high = score_interval(share, float((residuals**2).mean()), counts.size)
    return Estimate(share - 0.5, low - 0.5, high - 0.5, counts.size)


def order_consistency(first: ArrayLike) -> Estimate | None:
    """Return the share of pairs, of those with two valid replies, whose replies prefer the same text or both none."""
    replies = _replies(first)
    replies = replies[np.isfinite(replies).all(axis=1)]
    if replies.shape[1] != 2 or len(replies) == 0:
        return None
    consistent = int(np.count_nonzero(replies.sum(axis=1) == 1))
    return Estimate(consistent / len(replies), *wilson(consistent, len(replies)), len(replies))


def _mean_agreement(x: Floats, others: Floats) -> Floats:
    """For each of x the mean of its agreement with all others."""
    values, counts = np.unique(others, return_counts=True)
    means: Floats = (1 - np.abs(x[:, None] - values)) @ (counts / others.size)
    return means


def _replies(first: ArrayLike) -> Floats:
    replies = np.asarray(first, dtype=float)
    return replies if replies.ndim == 2 else replies.reshape(-1, 1)


def _two(a: ArrayLike, b: ArrayLike) -> tuple[Floats, Floats]:
    x, y = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if x.shape != y.shape or x.ndim != 1 or not ((x >= 0) & (x <= 1) & (y >= 0) & (y <= 1)).all():
        raise ValueError("agreement needs two lists of outcomes from 0 to 1 over the same pairs")
    return x, y
