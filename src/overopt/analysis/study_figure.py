"""A study's figure: win rate above proxy against step, with a column for each stage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from overopt.analysis.charts import HEIGHT, WIDTH, chart_of, side_by_side
from overopt.analysis.run_summary import evaluations_of
from overopt.records import Run

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#56B4E9", "#E69F00")
"""Okabe and Ito's palette for the color-blind, without its yellow; beyond seven runs it repeats with dashes."""

DASHES = ([1, 0], [6, 3], [2, 2])
MARKS = {"GOOD": "circle", "OVER": "cross", "OVER-PEAK": "triangle-down", "COLLAPSE": "square"}
OTHER_MARK = "diamond"
COLUMN_TITLES = {"online": "online (RLOO)", "offline": "offline (pairs)"}


@dataclass(frozen=True)
class Curve:
    """The evaluations of a run, with the name and label that the table gives it."""

    run: str
    stage: str
    label: str | None
    rows: Sequence[Mapping[str, Any]]


def curve_of(name: str, run: Run, label: str | None) -> Curve:
    """The curve of a run."""
    return Curve(name, run.stage or "?", label, evaluations_of(run))


def win_rate_and_proxy(curves: Sequence[Curve], title: str, sft_win_rate: float | None = None) -> Any:
    """A chart with one color for each run, labeled by name and outcome; the dashed line is the SFT policy."""
    import altair as alt

    curves = [curve for curve in curves if curve.rows]
    styles = _styles([curve.run for curve in curves])
    columns = []
    for stage in dict.fromkeys(curve.stage for curve in curves):
        here = [curve for curve in curves if curve.stage == stage]
        steps = alt.X(
            "step:Q", title="step", scale=alt.Scale(domain=[0, max(curve.rows[-1]["step"] for curve in here)])
        )
        top = _panel(here, styles, steps.title(None), "win_rate", "win rate against the reference", [0, 1])
        if sft_win_rate is not None:
            rule = chart_of([{"value": sft_win_rate}]).mark_rule(strokeDash=[4, 4], color="gray")
            top = rule.encode(y="value:Q") + top
        top = (top + _names(here, styles)).properties(title=COLUMN_TITLES.get(stage, stage), width=WIDTH, height=HEIGHT)
        bottom = _panel(here, styles, steps, "proxy_mean", "proxy (reward model's score)", _extent(curves))
        columns.append(alt.vconcat(top, bottom.properties(width=WIDTH, height=HEIGHT)).resolve_scale(x="shared"))
    return side_by_side(columns, alt.TitleParams(title, fontSize=15, anchor="start"))


def spread_labels(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions near the given ones, in the same order, at least `gap` apart, and within bounds if there is room."""
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


def _panel(
    curves: Sequence[Curve], styles: dict[str, dict[str, Any]], x: Any, value: str, title: str, domain: list[float]
) -> Any:
    """Lines with a dot at every evaluation and the outcome's mark at the last."""
    import altair as alt

    color = alt.Color("color:N", scale=None)
    y = alt.Y("value:Q", title=title, scale=alt.Scale(domain=domain))
    points = [point | styles[point["run"]] for curve in curves for point in _points(curve, value)]
    ends = [
        points_of[-1] | styles[curve.run] | {"mark": MARKS.get(curve.label or "", OTHER_MARK)}
        for curve in curves
        if (points_of := list(_points(curve, value)))
    ]
    lines = chart_of(points).encode(x=x, y=y, color=color, detail="run:N")
    marks = chart_of(ends).mark_point(size=80, filled=True, opacity=1)
    return (
        lines.mark_line(strokeWidth=2).encode(strokeDash=alt.StrokeDash("dash:N", scale=None))
        + lines.mark_circle(size=14)
        + marks.encode(x=x, y=y, color=color, shape=alt.Shape("mark:N", scale=None))
    )


def _names(curves: Sequence[Curve], styles: dict[str, dict[str, Any]]) -> Any:
    """Names at the right ends of the win rates, moved apart where lines end close together."""
    import altair as alt

    ends = [(curve, point["value"]) for curve in curves for point in list(_points(curve, "win_rate"))[-1:]]
    places = spread_labels([value for _, value in ends], gap=0.075, low=0.02, high=0.98)
    values = [
        {"text": f"{curve.run}  {curve.label or ''}".rstrip(), "value": place} | styles[curve.run]
        for (curve, _), place in zip(ends, places, strict=True)
    ]
    text = chart_of(values).mark_text(align="left", dx=10, fontSize=11)
    return text.encode(x=alt.value(WIDTH), y="value:Q", text="text:N", color=alt.Color("color:N", scale=None))


def _points(curve: Curve, value: str) -> Iterator[dict[str, Any]]:
    for row in curve.rows:
        if value in row:
            yield {"run": curve.run, "step": row["step"], "value": row[value]}


def _extent(curves: Sequence[Curve]) -> list[float]:
    """The range of the proxy over all columns, so that they can be compared."""
    values = [point["value"] for curve in curves for point in _points(curve, "proxy_mean")] or [0.0, 1.0]
    margin = 0.05 * (max(values) - min(values)) or 0.5
    return [min(values) - margin, max(values) + margin]


def _styles(runs: Sequence[str]) -> dict[str, dict[str, Any]]:
    return {
        run: {"color": COLORS[place % len(COLORS)], "dash": DASHES[place // len(COLORS) % len(DASHES)]}
        for place, run in enumerate(dict.fromkeys(runs))
    }
