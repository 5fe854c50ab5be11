"""The figures of the answers: dots with their intervals over seeds, by category."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from overopt.analysis.charts import WIDTH, chart_of
from overopt.analysis.study_figure import COLORS

Rows = Sequence[Mapping[str, Any]]


def dots(rows: Rows, *, x: str, title: str = "", zero: float | None = 0.0) -> Any:
    """A panel with a dot for each row at `mean` and its interval from `low` to `high`, if it has one.

    Rows are ordered by `category`, and within one by `entry`, which gives the color. `zero` is marked by a line.
    """
    import altair as alt

    entries = list(dict.fromkeys(row["entry"] for row in rows))
    categories = list(dict.fromkeys(row["category"] for row in rows))
    place = {
        "y": alt.Y("category:N", sort=categories, title=None, axis=alt.Axis(labelLimit=260)),
        "yOffset": alt.YOffset("entry:N", sort=entries),
        "color": _color(entries),
    }
    scale = alt.Scale(zero=False, nice=True)
    points = chart_of(rows).mark_point(filled=True, size=45, opacity=1)
    layers = [points.encode(x=alt.X("mean:Q", title=x, scale=scale), **place)]
    spread = [row for row in rows if "low" in row]
    if spread:
        rules = chart_of(spread).mark_rule(strokeWidth=1.6)
        layers.insert(0, rules.encode(x=alt.X("low:Q", title=x, scale=scale), x2="high:Q", **place))
    if zero is not None:
        layers.insert(0, chart_of([{"zero": zero}]).mark_rule(color="gray", strokeDash=[4, 4]).encode(x="zero:Q"))
    height = max(60, 15 * len(categories) * max(1, len(entries)))
    return alt.layer(*layers).properties(title=title, width=WIDTH, height=min(height, 420))


def _color(entries: Sequence[str]) -> Any:
    import altair as alt

    colors = [COLORS[place % len(COLORS)] for place in range(len(entries))]
    scale = alt.Scale(domain=list(entries), range=colors)
    return alt.Color("entry:N", scale=scale, title=None, legend=alt.Legend(labelLimit=0, orient="bottom", columns=2))
