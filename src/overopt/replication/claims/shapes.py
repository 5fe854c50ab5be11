"""The shape of a series as a number: how far it has come at half, how its slope changes, how straight it is."""

from __future__ import annotations

import math

import numpy as np

from overopt.replication.members import Points
from overopt.statistics.series import binned, start_end

BINS = 50


def half(points: Points) -> float:
    """The mean between 45 and 55 % of the axis, by the end: about .5 of a line from 0, near 1 if it saturates."""
    place, values = _place(points)
    middle = values[(place >= 0.45) & (place <= 0.55)]
    end = start_end(values).end
    return float(middle.mean() / end) if middle.size and end else math.nan


def late_by_early(points: Points) -> float:
    """The slope of a line through the last third, by that through the first; NaN unless the series rises at first."""
    place, values = _place(points)
    early, late = (_slope(place[part], values[part]) for part in (place <= 1 / 3, place >= 2 / 3))
    return late / early if early > 0 else math.nan


def r2_of_line(points: Points) -> float:
    """R2 of a line through the series in bins; NaN of a constant one."""
    x, z = binned(*points, BINS)
    if len(x) < 3 or np.ptp(z) == 0:
        return math.nan
    return float(np.corrcoef(x, z)[0, 1] ** 2)


def growth(points: Points) -> float:
    """The end by the start, which is that after the first tenth."""
    place, values = _place(points)
    ends = start_end(values[place >= 0.1])
    return ends.end / ends.start if ends.start > 0 else math.nan


def bulge(points: Points) -> float:
    """The largest mean in bins over the last 80 %, by the median of those between 10 and 30 %."""
    x, z = binned(*points, BINS)
    place = (x - points[0].min()) / np.ptp(points[0])
    before, after = z[place <= 0.3], z[place >= 0.2]
    return float(after.max() / np.median(before)) if before.size and after.size and np.median(before) > 0 else math.nan


def _place(points: Points) -> Points:
    """Positions on the axis from 0 to 1, and the values."""
    axis, values = points
    width = np.ptp(axis)
    return (axis - axis.min()) / width if width else np.zeros_like(axis), values


def _slope(x: np.ndarray, z: np.ndarray) -> float:
    if x.size < 2 or np.ptp(x) == 0:
        return math.nan
    centered = x - x.mean()
    return float(centered @ z / (centered @ centered))
