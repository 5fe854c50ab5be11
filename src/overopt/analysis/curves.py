"""What a figure draws of a run: win rate and proxy at every evaluation, read from its record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from overopt.analysis.run_summary import evaluations_of
from overopt.records import Run


@dataclass(frozen=True)
class Curve:
    """One run's evaluations by step. Values that an evaluation lacks are None."""

    run: str
    stage: str
    label: str | None
    steps: tuple[int, ...]
    win_rate: tuple[float | None, ...]
    proxy: tuple[float | None, ...]


def curve_of(name: str, run: Run, label: str | None) -> Curve:
    """`name` and `label` as in the table, so that figure and table speak of the same thing."""
    rows = evaluations_of(run)
    return Curve(
        run=name,
        stage=run.stage or "?",
        label=label,
        steps=tuple(row["step"] for row in rows),
        win_rate=tuple(row.get("win_rate") for row in rows),
        proxy=tuple(row.get("proxy_mean") for row in rows),
    )


def spread(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places for labels: near those given, in their order, at least `gap` apart, and within bounds if there is room."""
    order = sorted(range(len(places)), key=lambda index: places[index])
    gap = min(gap, (high - low) / max(1, len(places) - 1))
    moved = [0.0] * len(places)
    floor = low
    for index in order:
        moved[index] = max(places[index], floor)
        floor = moved[index] + gap
    ceiling = high
    for index in reversed(order):
        moved[index] = min(moved[index], ceiling)
        ceiling = moved[index] - gap
    return moved
