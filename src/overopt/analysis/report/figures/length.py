"""Length, ends and clipping; and the win rate at equal length."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from overopt.analysis.report.collect import Group, Record
from overopt.analysis.report.figures import figure as draw
from overopt.analysis.report.figures.figure import Columns, Figure, Panel, make_figure, metric_panels, tidy
from overopt.statistics import Difference, paired_difference, wilson

TERCILES = ("short", "middle", "long")
CONTROLS = ("as it is", "at equal length")


def figure(group: Group) -> Figure | None:
    return make_figure(
        "length",
        "Length",
        "Length, share of completions that end, and share of clipped samples while training. Win rate of the last"
        " checkpoint by length tercile (cut points over all runs' completions, so that a tercile means one length), and"
        " the paired difference to SFT as it is and at equal length: the intercept of the regression of the difference"
        " in outcome on the difference in length, prompt by prompt. Bars: 95 % intervals.",
        [
            *metric_panels(
                group,
                {
                    "len_mean": "length (tokens)",
                    "eos_rate": "share that ends",
                    "clipfrac": "share of samples clipped",
                },
            ),
            _terciles(group),
            _controlled(group),
        ],
    )


def at_equal_length(outcome: Sequence[float], length: Sequence[float]) -> Difference | None:
    """Intercept, with its standard error, of differences in outcome regressed on differences in length."""
    y, x = np.asarray(outcome, dtype=float), np.asarray(length, dtype=float)
    if len(y) < 3 or np.ptp(x) == 0:
        return None
    spread = float(((x - x.mean()) ** 2).sum())
    slope = float((x - x.mean()) @ y) / spread
    intercept = float(y.mean() - slope * x.mean())
    residual = float(((y - intercept - slope * x) ** 2).sum()) / (len(y) - 2)
    return Difference(intercept, math.sqrt(residual * (1 / len(y) + x.mean() ** 2 / spread)))


def cut_points(records: Sequence[Record]) -> tuple[float, float] | None:
    """Lengths that cut all runs' last completions into thirds; None if there are none or they are all alike."""
    lengths = [row.length for record in records for row in record.last.values() if row.length is not None]
    if not lengths or min(lengths) == max(lengths):
        return None
    low, high = np.quantile(lengths, [1 / 3, 2 / 3])
    return float(low), float(high)


def _terciles(group: Group) -> Panel | None:
    cuts = cut_points(group.records)
    table: Columns = {name: [] for name in ("run", "entry", "x", "y", "low", "high", "n")}
    for record in group.records if cuts else ():
        rows = [row for row in record.last.values() if row.length is not None and row.outcome is not None]
        thirds = np.searchsorted(cuts or (), [row.length for row in rows], side="right")
        for place, name in enumerate(TERCILES):
            outcomes = [row.outcome for row, third in zip(rows, thirds, strict=True) if third == place]
            if outcomes:
                wins = float(np.sum(outcomes))
                _add(group, table, record, name, wins / len(outcomes), wilson(wins, len(outcomes)), len(outcomes))
    if cuts is None or not table["run"]:
        return None
    x = f"length (middle: {cuts[0]:.3g} to below {cuts[1]:.3g} tokens)"
    return _bars(group, "terciles", x, "win rate by length", table, TERCILES)


def _controlled(group: Group) -> Panel | None:
    table: Columns = {name: [] for name in ("run", "entry", "x", "y", "low", "high", "n")}
    for record in group.records:
        pairs = [(record.last[key], record.first[key]) for key in record.last.keys() & record.first.keys()]
        pairs = [
            (a, b)
            for a, b in pairs
            if None not in (a.outcome, b.outcome, a.length, b.length) and record.first is not record.last
        ]
        if not pairs:
            continue
        outcome = [(a.outcome or 0.0) - (b.outcome or 0.0) for a, b in pairs]
        length = [(a.length or 0) - (b.length or 0) for a, b in pairs]
        found = [paired_difference(outcome, np.zeros(len(outcome))), at_equal_length(outcome, length)]
        for name, difference in zip(CONTROLS, found, strict=True):
            if difference is not None:
                reach = 1.96 * difference.se
                bounds = (difference.mean - reach, difference.mean + reach)
                _add(group, table, record, name, difference.mean, bounds, len(pairs))
    return _bars(group, "controlled", "", "win rate minus SFT's", table, CONTROLS) if table["run"] else None


def _add(group: Group, table: Columns, record: Record, x: str, y: float, bounds: tuple[float, float], n: int) -> None:
    values = (record.name, group.entry(record), x, tidy(y), tidy(bounds[0]), tidy(bounds[1]), n)
    for column, value in zip(table.values(), values, strict=True):
        column.append(value)


def _bars(group: Group, name: str, x: str, y: str, table: Columns, order: Sequence[str]) -> Panel:
    """A dot with its interval for each run, side by side within each place."""
    import altair as alt

    encoding: dict[str, Any] = draw.encoding(group, x, y, None) | {
        "x": alt.X("x:N", sort=list(order), title=x or None, axis=alt.Axis(labelAngle=0)),
        "xOffset": alt.XOffset("run:N"),
    }
    base = draw.chart(f"{name}-bars")
    rules = base.mark_rule(strokeWidth=1.5).encode(**{**encoding, "y": alt.Y("low:Q", title=y)}, y2="high:Q")
    dots = base.mark_circle(size=45).encode(
        **encoding,
        tooltip=[alt.Tooltip("run:N"), alt.Tooltip("y:Q", title=y, format=".3~f"), alt.Tooltip("n:Q", title="prompts")],
    )
    return Panel(y, draw.as_spec([rules, dots]), {f"{name}-bars": table})
