"""Building blocks of the report's figures: panels of lines with a mark at each end, as Vega-Lite.

A panel is one Vega-Lite unit, with its numbers held apart. The page draws panels interactively at the available width;
`printed` places a figure's panels side by side, with a legend, for files. Both show the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from overopt.analysis.report.collect import Group, Points, ReportedRun
from overopt.analysis.study_figure import COLORS
from overopt.outcomes import OVER_OPTIMIZED

Columns = dict[str, list[Any]]
"""A table, column by column."""

DASHES = ([1, 0], [7, 3], [2, 2], [8, 3, 2, 3])
"""Four patterns share no divisor with the seven colors, so 28 entries differ, and neighbors differ in gray, too."""

STEP = "step"
"""Title of the x-axis that panels share."""

PANEL_POINTS = 6000
"""Most points of one panel, over all runs: more cannot be told apart, and scrolling would stutter."""
LINE_POINTS = 400
MANY = 16
"""From this number of runs on, the dots on the lines are left out."""

CHECK, CROSS, DASH = "M-0.9,0.1L-0.3,0.7L0.9,-0.7", "M-0.7,-0.7L0.7,0.7M-0.7,0.7L0.7,-0.7", "M-0.7,0L0.7,0"
MARKS = {"better": CHECK, "worse": CROSS, "neither": DASH}
"""Shapes at the end of a line: better than SFT; over-optimized or collapsed; neither or not known."""

CHOSEN = {"name": "chosen", "value": ""}
"""The highlighted run or legend entry; empty if there is none."""
SHOWN = "chosen === '' || datum.run === chosen || datum.entry === chosen"


@dataclass(frozen=True)
class Panel:
    title: str
    spec: dict[str, Any]
    data: dict[str, Columns]


@dataclass(frozen=True)
class Figure:
    name: str
    title: str
    caption: str
    panels: tuple[Panel, ...]
    notes: tuple[str, ...] = ()
    """Numbers and warnings shown with the figure, one line each."""


def make_figure(
    name: str, title: str, caption: str, panels: Sequence[Panel | None], notes: Sequence[str] = ()
) -> Figure | None:
    """A figure of the panels that have numbers, or None if none has."""
    drawn = tuple(panel for panel in panels if panel is not None)
    return Figure(name, title, caption, drawn, tuple(notes)) if drawn else None


def metric_panels(group: Group, **metrics: str) -> list[Panel | None]:
    """A panel for each metric of training (name to title), against step."""
    return [line_panel(group, name, title, STEP, partial(_metric, name=name)) for name, title in metrics.items()]


def _metric(record: ReportedRun, name: str) -> Points | None:
    return record.metrics.get(name)


def line_panel(
    group: Group,
    name: str,
    y: str,
    x: str,
    points_of: Callable[[ReportedRun], Points | None],
    *,
    domain: tuple[float, float] | None = None,
    extra: Callable[[], list[Any]] = list,
    extra_data: Mapping[str, Columns] | None = None,
    joined: bool = True,
    dots: bool = False,
    judge: str | None = None,
) -> Panel | None:
    """One line for each run, with the mark of its outcome at the end, or None if no run has points.

    The outcome is by the judge whose labels come first unless one is named. `extra` returns layers that are drawn below
    the lines; they refer to the tables of `extra_data` by name.
    """
    lines = {record: points for record in group.records if (points := points_of(record)) is not None and len(points[0])}
    if not lines:
        return None
    limit = max(20, min(LINE_POINTS, PANEL_POINTS // len(lines)))
    thinned = {record: thin(*points, limit) for record, points in lines.items()}
    data = {"lines": columns_of(group, thinned), "ends": _ends(group, lines, judge), **(extra_data or {})}
    data = {f"{name}-{part}": table for part, table in data.items()}
    layers = _layers(group, name, x, y, domain, joined=joined, dots=dots and len(lines) < MANY)
    return make_panel(y, [*extra(), *layers, _end_marks(group, name, x, y, domain)], data)


def make_panel(title: str, layers: Sequence[Any], data: Mapping[str, Columns]) -> Panel:
    """A panel of the layers whose table is not empty: Vega warns of an infinite extent for an empty one."""
    import altair as alt

    full = {name: table for name, table in data.items() if any(table.values())}
    spec = alt.layer(*(layer for layer in layers if layer.data.name in full)).to_dict()
    top = ("$schema", "config", "datasets")  # keys of a whole document
    return Panel(title, {key: value for key, value in spec.items() if key not in top}, full)


def thin(x: NDArray[np.float64], y: NDArray[np.float64], limit: int) -> Points:
    """At most `limit` points of a line: the first, the last, and the lowest and highest of each stretch between."""
    if len(x) <= limit:
        return x, y
    kept = {0, len(x) - 1}
    for stretch in np.array_split(np.arange(1, len(x) - 1), max(1, (limit - 2) // 2)):
        kept |= {int(stretch[y[stretch].argmin()]), int(stretch[y[stretch].argmax()])}
    places = sorted(kept)
    return x[places], y[places]


def columns_of(group: Group, lines: Mapping[ReportedRun, Points]) -> Columns:
    """The run, legend entry, x and y of every point."""
    table: Columns = {"run": [], "entry": [], "x": [], "y": []}
    for record, (x, y) in lines.items():
        table["run"] += [record.name] * len(x)
        table["entry"] += [group.entry(record)] * len(x)
        table["x"] += map(tidy, x)
        table["y"] += map(tidy, y)
    return table


def table_of(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> Columns:
    """Rows as columns of these names, with tidy numbers; one empty column each if there is no row."""
    columns: Columns = {name: [] for name in names}
    for row in rows:
        for name, value in zip(names, row, strict=True):
            columns[name].append(value if isinstance(value, str) else tidy(value))
    return columns


def tidy(value: float) -> float | int:
    """The value to six digits, more than a picture shows; whole numbers as int."""
    number = float(f"{value:.6g}")
    return int(number) if number.is_integer() and abs(number) < 1e15 else number


def outcome_of(record: ReportedRun, judge: str | None = None) -> str:
    """The key into MARKS for the end of a run's lines, by the first judge unless one is named."""
    judged = record.row if judge is None else record.row.by(judge)
    label = None if judged is None else judged.label
    if label == "GOOD":
        return "better"
    return "worse" if label in (*OVER_OPTIMIZED, "COLLAPSE") else "neither"


def style_of(group: Group) -> dict[str, tuple[str, list[int]]]:
    """Color and dash pattern of every legend entry."""
    return {
        entry: (COLORS[place % len(COLORS)], DASHES[place % len(DASHES)]) for place, entry in enumerate(group.entries)
    }


def encoding(group: Group, x: str, y: str, domain: tuple[float, float] | None) -> dict[str, Any]:
    """The encoding that all layers share: axes, color by entry, and fading of runs that are not highlighted."""
    import altair as alt

    styles = style_of(group)
    colors = alt.Scale(domain=list(styles), range=[color for color, _ in styles.values()])
    steps = (0, max(1, group.last_step)) if x == STEP else alt.Undefined  # one axis for all panels
    return {
        "x": alt.X("x:Q", title=x, scale=alt.Scale(nice=False, zero=False, padding=10, domain=steps)),
        "y": y_axis("y", y, domain),
        "color": alt.Color("entry:N", scale=colors, title=None),
        "opacity": alt.condition(SHOWN, alt.value(1), alt.value(0.1)),
    }


def y_axis(field: str, title: str, domain: tuple[float, float] | None) -> Any:
    import altair as alt

    return alt.Y(f"{field}:Q", title=title, scale=alt.Scale(zero=False, domain=domain or alt.Undefined))


def dash_scale(group: Group) -> Any:
    import altair as alt

    styles = style_of(group)
    scale = alt.Scale(domain=list(styles), range=[dash for _, dash in styles.values()])
    return alt.StrokeDash("entry:N", scale=scale, title=None)


def tooltips(x: str, y: str) -> list[Any]:
    import altair as alt

    numbers = [alt.Tooltip(f"{field}:Q", title=title, format=".4~g") for field, title in (("x", x), ("y", y))]
    return [alt.Tooltip("run:N", title="run"), *numbers]


def chart(name: str) -> Any:
    """A chart of a table that is given by name. (Altair's types are too loose to be checked.)"""
    import altair as alt

    return alt.Chart(alt.NamedData(name=name))


def rows_of(table: Columns) -> list[dict[str, Any]]:
    return [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]


def printed(figure: Figure, title: str, *, width: int = 300, height: int = 190, columns: int = 3) -> dict[str, Any]:
    """The figure as one Vega-Lite document with its numbers, for a file."""
    panels = [{**panel.spec, "width": width, "height": height} for panel in figure.panels]
    rows = [{"hconcat": panels[start : start + columns]} for start in range(0, len(panels), columns)]
    subtitle = list(figure.notes[:12])
    legend = {"orient": "bottom", "columns": 4, "symbolLimit": 0, "labelLimit": 300, "symbolType": "stroke"}
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "background": "white",
        "padding": 12,
        "title": {"text": f"{figure.title}: {title}", "subtitle": subtitle, "anchor": "start", "fontSize": 14},
        "params": [CHOSEN],
        "vconcat": rows,
        "resolve": {"scale": {"color": "shared", "strokeDash": "shared"}},
        "datasets": {name: rows_of(table) for panel in figure.panels for name, table in panel.data.items()},
        "config": {
            "view": {"stroke": None},
            "axis": {"gridColor": "#eeeeee", "labelFontSize": 11, "titleFontSize": 11, "titleFontWeight": "normal"},
            "legend": {**legend, "symbolSize": 300, "symbolStrokeWidth": 2, "symbolOpacity": 1},
        },
    }


def _layers(
    group: Group, name: str, x: str, y: str, domain: tuple[float, float] | None, *, joined: bool, dots: bool
) -> list[Any]:
    base = chart(f"{name}-lines").encode(
        **encoding(group, x, y, domain), detail="run:N", order="x:Q", tooltip=tooltips(x, y)
    )
    layers = []
    if joined:
        layers.append(base.mark_line(strokeWidth=1.8 if dots else 1.2).encode(strokeDash=dash_scale(group)))
    if dots or not joined:
        layers.append(base.mark_circle(size=22))
    return layers


def _end_marks(group: Group, name: str, x: str, y: str, domain: tuple[float, float] | None) -> Any:
    import altair as alt

    shape = alt.Shape(
        "outcome:N", scale=alt.Scale(domain=list(MARKS), range=list(MARKS.values())), title=None, legend=None
    )
    marks = chart(f"{name}-ends").mark_point(size=110, strokeWidth=2.6, filled=False, clip=False)
    return marks.encode(**encoding(group, x, y, domain), shape=shape, tooltip=tooltips(x, y))


def _ends(group: Group, lines: Mapping[ReportedRun, Points], judge: str | None) -> Columns:
    table = columns_of(group, {record: (x[-1:], y[-1:]) for record, (x, y) in lines.items()})
    return table | {"outcome": [outcome_of(record, judge) for record in lines]}
