"""Differences over the same prompts or over seeds, with their standard errors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


class Difference(NamedTuple):
    """A mean and its standard error."""

    mean: float
    se: float

    @property
    def z(self) -> float:
        """The mean in standard errors; infinite without any spread, and 0 if the mean is 0 as well."""
        return self.mean / self.se if self.se else math.copysign(math.inf, self.mean) if self.mean else 0.0


def paired_difference(a: ArrayLike, b: ArrayLike) -> Difference:
    """Return the mean of a - b over the same prompts, and its standard error sqrt((mean(d^2) - mean(d)^2) / n).

    For wins and losses that is McNemar's sqrt(b + c - (b - c)^2 / n) / n with discordant counts b and c; it holds for
    ties (1/2) and for scores as well.
    """
    x, y = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if x.shape != y.shape or x.ndim != 1 or x.size == 0:
        raise ValueError("a paired difference needs two series over the same prompts, at least one")
    d = x - y
    return Difference(float(d.mean()), float(d.std() / math.sqrt(d.size)))


def several_seeds(differences: Sequence[Difference]) -> Difference:
    """Return the mean over seeds, with the larger of the pooled standard error and that of the spread between seeds."""
    means = np.array([d.mean for d in differences])
    pooled = math.sqrt(sum(d.se**2 for d in differences)) / len(differences)
    return Difference(float(means.mean()), max(pooled, standard_error(means)))


def standard_error(points: Floats) -> float:
    """Return the standard error of the mean, sd / sqrt(count); 0 for a single point, whose spread is unknown."""
    return float(points.std(ddof=1) / math.sqrt(points.size)) if points.size > 1 else 0.0
