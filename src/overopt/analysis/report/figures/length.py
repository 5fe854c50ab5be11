"""Length, share of completions that end, clipping, and the win rate at equal length."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from overopt.analysis.report.collect import Group, ReportedRun
from overopt.analysis.report.figures import drawing
from overopt.analysis.report.figures.drawing import Figure, Panel, make_figure, metric_panels, table_of
from overopt.statistics import Difference, paired_difference, wilson

TERCILES = ("short", "middle", "long")
CONTROLS = ("as it is", "at equal length")


def draw_length(group: Group) -> Figure | None:
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
                len_mean="length (tokens)",
                eos_rate="share that ends",
                clipfrac="share of samples clipped",
            ),
            _terciles(group),
            _controlled(group),
        ],
    )


def at_equal_length(outcome: Sequence[float], length: Sequence[float]) -> Difference | None:
    """Intercept, with its standard error, of the regression of differences in outcome on differences in length."""
    y, x = np.asarray(outcome, dtype=float), np.asarray(length, dtype=float)
    if len(y) < 3 or np.ptp(x) == 0:
        return None
    spread = float(((x - x.mean()) ** 2).sum())
    slope = float((x - x.mean()) @ y) / spread
    intercept = float(y.mean() - slope * x.mean())
    residual = float(((y - intercept - slope * x) ** 2).sum()) / (len(y) - 2)
    return Difference(intercept, math.sqrt(residual * (1 / len(y) + x.mean() ** 2 / spread)))


def cut_points(records: Sequence[ReportedRun]) -> tuple[float, float] | None:
    """Lengths that divide the last completions of all runs into thirds; None if there are none or all are equal."""
    lengths = [row.length for record in records for row in record.last.values() if row.length is not None]
    if not lengths or min(lengths) == max(lengths):
        return None
    low, high = np.quantile(lengths, [1 / 3, 2 / 3])
    return float(low), float(high)


def _terciles(group: Group) -> Panel | None:
    cuts = cut_points(group.records)
    if cuts is None:
        return None
    rows = []
    for record in group.records:
        for name, outcomes in _by_length(record, cuts):
            wins, n = float(np.sum(outcomes)), len(outcomes)
            rows.append((record.name, group.entry(record), name, wins / n, *wilson(wins, n), n))
    x = f"length (middle: {cuts[0]:.3g} to below {cuts[1]:.3g} tokens)"
    return _bars(group, "terciles", x, "win rate by length", rows, TERCILES)


def _by_length(record: ReportedRun, cuts: Sequence[float]) -> Iterator[tuple[str, list[float]]]:
    """The outcomes of the last evaluation by length tercile, where a tercile has some."""
    rows = [(row.length, row.outcome) for row in record.last.values()]
    judged = [(length, outcome) for length, outcome in rows if length is not None and outcome is not None]
    thirds = np.searchsorted(np.array(cuts), np.array([length for length, _ in judged]), side="right")
    for place, name in enumerate(TERCILES):
        outcomes = [outcome for (_, outcome), third in zip(judged, thirds, strict=True) if third == place]
        if outcomes:
            yield name, outcomes


def _controlled(group: Group) -> Panel | None:
    rows = []
    for record in group.records:
        changes = _changes(record)
        if not changes:
            continue
        outcome, length = [change for change, _ in changes], [change for _, change in changes]
        found = [paired_difference(outcome, np.zeros(len(outcome))), at_equal_length(outcome, length)]
        for name, difference in zip(CONTROLS, found, strict=True):
            if difference is not None:
                mean, reach = difference.mean, 1.96 * difference.se
                rows.append((record.name, group.entry(record), name, mean, mean - reach, mean + reach, len(changes)))
    return _bars(group, "controlled", "", "win rate minus SFT's", rows, CONTROLS)


def _changes(record: ReportedRun) -> list[tuple[float, float]]:
    """Change of outcome and of length from the first to the last evaluation, for each prompt."""
    if record.first is record.last:
        return []
    pairs = [(record.last[prompt], record.first[prompt]) for prompt in record.last if prompt in record.first]
    return [
        (last.outcome - first.outcome, float(last.length - first.length))
        for last, first in pairs
        if last.outcome is not None and first.outcome is not None
        if last.length is not None and first.length is not None
    ]


def _bars(group: Group, name: str, x: str, y: str, rows: Sequence[Sequence[Any]], order: Sequence[str]) -> Panel | None:
    """A dot with its interval for each row; the runs stand side by side at each value of x. None without rows."""
    import altair as alt

    if not rows:
        return None
    table = table_of(("run", "entry", "x", "y", "low", "high", "n"), rows)
    encoding: dict[str, Any] = drawing.encoding(group, x, y, None) | {
        "x": alt.X("x:N", sort=list(order), title=x or None, axis=alt.Axis(labelAngle=0)),
        "xOffset": alt.XOffset("run:N"),
    }
    base = drawing.chart(f"{name}-bars")
    rules = base.mark_rule(strokeWidth=1.5).encode(**{**encoding, "y": alt.Y("low:Q", title=y)}, y2="high:Q")
    dots = base.mark_circle(size=45).encode(
        **encoding,
        tooltip=[alt.Tooltip("run:N"), alt.Tooltip("y:Q", title=y, format=".3~f"), alt.Tooltip("n:Q", title="prompts")],
    )
    return drawing.make_panel(y, [rules, dots], {f"{name}-bars": table})
