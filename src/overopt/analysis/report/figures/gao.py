"""Proxy, gold and win rate against the square root of the KL, with the scaling law of Gao et al. (2022)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from overopt.analysis.report.collect import Group, Points, ReportedRun
from overopt.analysis.report.figures import drawing
from overopt.analysis.report.figures.curves import GOLD, PROXY, win_rate_title
from overopt.analysis.report.figures.drawing import Columns, Figure, Panel, columns_of, line_panel, make_figure

DISTANCE = "√KL to the reference (√nats)"
SHORT = {"proxy_mean": "proxy", "gold_mean": "gold", "win_rate": "win rate"}

LEAST_POINTS = 4
"""Least points away from the start for a fit of two parameters."""
LEAST_R2 = 0.5
"""A fit that explains a smaller share of the variance is not drawn."""
MOST_NOTES = 12
"""Most runs whose fitted parameters are listed."""


@dataclass(frozen=True)
class Fit:
    """R(d) = R(0) + d (alpha - beta log d) with d = sqrt(KL)."""

    start: float
    alpha: float
    beta: float
    r2: float

    def __call__(self, d: Any) -> Any:
        return self.start + d * (self.alpha - self.beta * np.log(d))


def fit(points: Points | None) -> Fit | str:
    """The least-squares fit, which is linear in alpha and beta, or the reason why there is none; empty without points.

    The first point is R(0).
    """
    if points is None:
        return ""
    d, value = points
    moved = d > 1e-3
    if len(d) == 0 or moved[0]:
        return "the start was not evaluated"
    if moved.sum() < LEAST_POINTS:
        return f"{moved.sum()} points away from the start, {LEAST_POINTS} needed"
    design = np.stack([d[moved], -d[moved] * np.log(d[moved])], axis=1)
    rise = value[moved] - value[0]
    if np.linalg.cond(design) > 1e6:
        return "the distances are too alike"
    (alpha, beta), *_ = np.linalg.lstsq(design, rise)
    spread = float(((rise - rise.mean()) ** 2).sum())
    if spread == 0:
        return "the values do not change"
    r2 = 1 - float(((rise - design @ [alpha, beta]) ** 2).sum()) / spread
    if r2 < LEAST_R2:
        return f"the form does not describe it (R² {r2:.2f})"
    return Fit(float(value[0]), float(alpha), float(beta), r2)


def draw_gao(group: Group) -> Figure | None:
    panels = {"proxy_mean": PROXY, "gold_mean": GOLD, "win_rate": win_rate_title(group)}
    return make_figure(
        "gao",
        "Against the distance from the start",
        "Dots: evaluations. Lines: R(d) = R(0) + d (α − β log d) fitted by least squares, d = √KL (Gao et al. 2022);"
        f" drawn where at least {LEAST_POINTS} evaluations are away from the start and it explains half of the"
        " variance.",
        [_panel(group, value, title) for value, title in panels.items()],
        list(_notes(group)),
    )


def distances(record: ReportedRun, value: str) -> Points | None:
    """sqrt(KL) and the value of a field, at the evaluations that have both."""
    rows = [row for row in record.evaluations if row.get(value) is not None and row.get("kl_ref") is not None]
    if not rows:
        return None
    kl = np.array([row["kl_ref"] for row in rows], dtype=float)
    return np.sqrt(np.maximum(kl, 0)), np.array([row[value] for row in rows], dtype=float)


def _panel(group: Group, value: str, title: str) -> Panel | None:
    name = f"gao_{value}"
    curves = _curves(group, value)

    def lines() -> list[Any]:
        layer = drawing.chart(f"{name}-fit").mark_line(strokeWidth=1.8).encode(strokeDash=drawing.dash_scale(group))
        return [layer.encode(**drawing.encoding(group, DISTANCE, title, None), detail="run:N", order="x:Q")]

    return line_panel(
        group, name, title, DISTANCE, lambda record: distances(record, value), joined=False,
        extra=lines, extra_data={"fit": curves},
    )  # fmt: skip


def _curves(group: Group, value: str) -> Columns:
    lines = {}
    for record in group.records:
        points = distances(record, value)
        if points is not None and isinstance(found := fit(points), Fit):
            d = np.linspace(points[0].max() / 40, points[0].max(), 40)
            lines[record] = (np.r_[0.0, d], np.r_[found.start, found(d)])
    return columns_of(group, lines)


def _notes(group: Group) -> Iterator[str]:
    records = [record for record in group.records if distances(record, "win_rate") is not None]
    for record in records[:MOST_NOTES]:
        found = {SHORT[value]: _fit_text(fit(distances(record, value))) for value in SHORT}
        yield f"{record.name}: " + "; ".join(f"{value} {said}" for value, said in found.items() if said)
    if len(records) > MOST_NOTES:
        yield f"and {len(records) - MOST_NOTES} more runs"


def _fit_text(found: Fit | str) -> str:
    if isinstance(found, Fit):
        return f"α {found.alpha:.3g}, β {found.beta:.3g} (R² {found.r2:.2f})"
    return f"no fit, {found}" if found else ""
