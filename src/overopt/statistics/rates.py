"""Win rates and their intervals."""

from __future__ import annotations

import math


def wilson(wins: float, n: int, z: float = 1.96) -> tuple[float, float]:
    """Return the Wilson score interval of wins/n; a tie counts 1/2. Unlike p +- z SE it is not empty at 0 or 1."""
    if n == 0:
        return 0.0, 1.0
    p, shrink = wins / n, 1 + z**2 / n
    center = (p + z**2 / (2 * n)) / shrink
    half_width = z / shrink * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return max(0.0, center - half_width), min(1.0, center + half_width)
