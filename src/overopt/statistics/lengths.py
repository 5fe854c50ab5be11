"""How far lengths explain a judge's preferences: length bias, win rate at equal lengths, win rates by length.

Differences of length enter as tanh(d / sd(d)), which is near 1 for a text that is much longer and 0 for equal lengths.
That is the term, and the idea, of AlpacaEval's length-controlled win rate (Dubois et al. 2024, arXiv 2404.04475):
model the outcome by logistic regression, then set the difference to 0. Its term for the difficulty of a prompt needs
many models and is left out here.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from overopt.statistics.differences import Floats
from overopt.statistics.rates import Estimate, mean_outcome, score_interval

RIDGE = 0.01
"""Penalty RIDGE/2 |coefficients|^2 on the log-likelihood: it keeps them finite where lengths or wins alone separate the
outcomes, and is of no account elsewhere (one pair carries up to 1/4)."""
STEPS = 100


def length_controlled(outcomes: ArrayLike, differences: ArrayLike) -> Estimate | None:
    """Return the win rate at equal lengths: sigmoid(b_0) of logit P(win) = b_0 + b_1 tanh(d / sd(d)).

    `differences` d are our length less the reference's, in any unit. The interval is a score interval with the
    regression's robust variance. None without pairs, or if all differ by the same length, which says nothing about
    equal ones.
    """
    y, d = np.asarray(outcomes, dtype=float), np.asarray(differences, dtype=float)
    if y.size == 0 or (np.ptp(d) == 0 and d[0] != 0):
        return None
    b, covariance = logistic(np.column_stack([np.ones_like(y), _feature(d, float(d.std()))]), y)
    rate = _sigmoid(b[0])
    variance = float(rate * (1 - rate)) ** 2 * covariance[0, 0]
    low, high = score_interval(float(rate), float(variance) * y.size, y.size)
    return Estimate(float(rate), low, high, y.size)


def by_length(outcomes: ArrayLike, lengths: ArrayLike) -> tuple[Estimate | None, ...]:
    """Return the win rates of the short, the middle and the long third by our length; None for an empty third.

    Equal lengths are in the same third, so thirds may differ in size.
    """
    y, length = np.asarray(outcomes, dtype=float), np.asarray(lengths, dtype=float)
    if y.size == 0:
        return None, None, None
    edges = np.quantile(length, [1 / 3, 2 / 3], method="inverted_cdf")
    third = np.searchsorted(edges, length, side="left")
    return tuple(mean_outcome(y[third == place]) for place in range(3))


def length_bias(judge: ArrayLike, human: ArrayLike, differences: ArrayLike) -> Estimate | None:
    """Return how much more often the judge prefers the longer of two texts than the humans do; from -1 to 1.

    All three are of the same pairs and in the same direction: outcomes for the first text, and its length less the
    other's. Pairs of equal length are left out. The interval is Tango's of a paired difference.
    """
    d = np.asarray(differences, dtype=float)
    return _excess(judge, human, np.sign(d))


def length_slope(judge: ArrayLike, human: ArrayLike, differences: ArrayLike) -> Estimate | None:
    """Return the pull of length, b of the least-squares fit judge - human = b tanh(d / rms(d)).

    By how much more than the humans' the judge's preference for a text rises from equal to much greater length: the
    length bias, with pairs weighted by how much their lengths differ. Which text is the first is arbitrary, so there is
    no constant, and d is scaled by its root mean square. None without pairs of different length.
    """
    d = np.asarray(differences, dtype=float)
    return _excess(judge, human, _feature(d, math.sqrt(float((d**2).mean())))) if d.any() else None


def _excess(judge: ArrayLike, human: ArrayLike, feature: Floats) -> Estimate | None:
    """b of judge - human = b feature: the mean of (judge - human) sign(f) with weights |f|, as a mean in [0, 1]."""
    j, h = np.asarray(judge, dtype=float), np.asarray(human, dtype=float)
    unequal = feature != 0
    weight, total = np.abs(feature[unequal]), float((feature**2).sum())
    if not total:
        return None
    shares = ((j - h)[unequal] * np.sign(feature[unequal]) + 1) / 2
    mean = float(weight @ shares / weight.sum())
    n = float(weight.sum()) ** 2 / total  # as many pairs of equal weight give the same variance
    bounds = score_interval(mean, float(weight**2 @ (shares - mean) ** 2) / total, n)
    scale = float(weight.sum()) / total
    value, low, high = ((2 * share - 1) * scale for share in (mean, *bounds))
    return Estimate(value, low, high, weight.size)


def logistic(x: Floats, y: Floats, ridge: float = RIDGE) -> tuple[Floats, Floats]:
    """Fit P(y) = sigmoid(x b), [n, k] and [n] in [0, 1], by Newton's method; return b and its robust covariance.

    The covariance is the sandwich, since outcomes with ties vary less than a logistic model's.
    """
    b = np.zeros(x.shape[1])
    loss = _loss(b, x, y, ridge)
    for _ in range(STEPS):
        p = _sigmoid(x @ b)
        step = np.linalg.solve(_curvature(x, p, ridge), x.T @ (y - p) - ridge * b)
        while (new := _loss(b + step, x, y, ridge)) > loss and np.abs(step).max() > 1e-12:
            step = step / 2
        b, loss = b + step, new
        if np.abs(step).max() < 1e-10:
            break
    p = _sigmoid(x @ b)
    inverse = np.linalg.inv(_curvature(x, p, ridge))
    scores = x * (y - p)[:, None]
    return b, inverse @ (scores.T @ scores) @ inverse


def _loss(b: Floats, x: Floats, y: Floats, ridge: float) -> float:
    logits = x @ b
    return float((np.logaddexp(0, logits) - y * logits).sum() + ridge / 2 * (b @ b))


def _curvature(x: Floats, p: Floats, ridge: float) -> Floats:
    curvature: Floats = (x * (p * (1 - p))[:, None]).T @ x + ridge * np.eye(x.shape[1])
    return curvature


def _feature(differences: Floats, scale: float) -> Floats:
    return np.tanh(differences / scale) if scale > 0 else np.zeros_like(differences)


def _sigmoid(logits: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-logits)))
