"""The study's figure: win rate and proxy against step, one above the other, a column for each kind of training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from overopt.analysis.curves import Curve, spread

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#56B4E9", "#E69F00")
"""Okabe and Ito's palette, safe for the color-blind, without its yellow; it repeats beyond seven runs, as dashes."""

DASHES = ([1, 0], [6, 3], [2, 2])
MARKS = {"GOOD": "circle", "OVER": "cross", "OVER-PEAK": "triangle-down", "COLLAPSE": "square"}
OTHER_MARK = "diamond"
COLUMN_TITLES = {"online": "online (RLOO)", "offline": "offline (pairs)"}
WIDTH, HEIGHT = 330, 190


def win_rate_and_proxy(curves: Sequence[Curve], title: str, sft_win_rate: float | None = None) -> Any:
    """Each run in one color, its name and outcome at the end of its win rate; the dashed line is the SFT policy."""
    import altair as alt

    curves = [curve for curve in curves if curve.steps]
    styles = _styles([curve.run for curve in curves])
    columns = []
    for stage in dict.fromkeys(curve.stage for curve in curves):
        here = [curve for curve in curves if curve.stage == stage]
        steps = alt.X("step:Q", title="step", scale=alt.Scale(domain=[0, max(curve.steps[-1] for curve in here)]))
        top = _panel(here, styles, steps.title(None), "win_rate", "win rate against the reference", [0, 1])
        if sft_win_rate is not None:
            rule = _chart([{"value": sft_win_rate}]).mark_rule(strokeDash=[4, 4], color="gray")
            top = rule.encode(y="value:Q") + top
        top = (top + _names(here, styles)).properties(title=COLUMN_TITLES.get(stage, stage), width=WIDTH, height=HEIGHT)
        bottom = _panel(here, styles, steps, "proxy", "proxy (reward model's score)", _extent(curves))
        columns.append(alt.vconcat(top, bottom.properties(width=WIDTH, height=HEIGHT)).resolve_scale(x="shared"))
    return (
        alt.hconcat(*columns, spacing=40)
        .properties(title=alt.TitleParams(title, fontSize=15, anchor="start"))
        .configure_view(stroke=None)
        .configure_axis(grid=True, gridColor="#eeeeee", labelFontSize=11, titleFontSize=11)
        .configure(background="white", padding=12)
    )


def save(chart: Any, stem: Path) -> list[Path]:
    """Write `stem.svg` and `stem.png`."""
    import vl_convert

    spec = chart.to_dict()
    stem.parent.mkdir(parents=True, exist_ok=True)
    svg, png = stem.with_suffix(".svg"), stem.with_suffix(".png")
    svg.write_text(vl_convert.vegalite_to_svg(spec), encoding="utf-8")
    png.write_bytes(vl_convert.vegalite_to_png(spec, scale=2))
    return [svg, png]


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
    lines = _chart(points).encode(x=x, y=y, color=color, detail="run:N")
    marks = _chart(ends).mark_point(size=80, filled=True, opacity=1)
    return (
        lines.mark_line(strokeWidth=2).encode(strokeDash=alt.StrokeDash("dash:N", scale=None))
        + lines.mark_circle(size=14)
        + marks.encode(x=x, y=y, color=color, shape=alt.Shape("mark:N", scale=None))
    )


def _names(curves: Sequence[Curve], styles: dict[str, dict[str, Any]]) -> Any:
    """Names at the right of the win rates, moved apart where lines end together."""
    import altair as alt

    ends = [(curve, point["value"]) for curve in curves for point in list(_points(curve, "win_rate"))[-1:]]
    places = spread([value for _, value in ends], gap=0.075, low=0.02, high=0.98)
    values = [
        {"text": f"{curve.run}  {curve.label or ''}".rstrip(), "value": place} | styles[curve.run]
        for (curve, _), place in zip(ends, places, strict=True)
    ]
    text = _chart(values).mark_text(align="left", dx=10, fontSize=11)
    return text.encode(x=alt.value(WIDTH), y="value:Q", text="text:N", color=alt.Color("color:N", scale=None))


def _chart(values: Sequence[dict[str, Any]]) -> Any:
    """A chart of plain values. Altair's types are too loose to be checked."""
    import altair as alt

    return alt.Chart(alt.InlineData(values=list(values)))


def _points(curve: Curve, value: str) -> Iterator[dict[str, Any]]:
    for step, number in zip(curve.steps, getattr(curve, value), strict=True):
        if number is not None:
            yield {"run": curve.run, "step": step, "value": number}


def _extent(curves: Sequence[Curve]) -> list[float]:
    """One range for the proxy in all columns, so that they compare."""
    values = [number for curve in curves for number in curve.proxy if number is not None] or [0.0, 1.0]
    margin = 0.05 * (max(values) - min(values)) or 0.5
    return [min(values) - margin, max(values) + margin]


def _styles(runs: Sequence[str]) -> dict[str, dict[str, Any]]:
    return {
        run: {"color": COLORS[place % len(COLORS)], "dash": DASHES[place // len(COLORS) % len(DASHES)]}
        for place, run in enumerate(dict.fromkeys(runs))
    }
