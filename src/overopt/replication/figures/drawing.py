"""The parts of a paper's figure: lines with bands over seeds, panels, and legends that carry the final win rates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from overopt.analysis.report.figures.drawing import MARKS, Columns, Panel, table_of
from overopt.replication.figures.over_seeds import (
    LINEAR,
    Axis,
    Point,
    PointsOf,
    block_width,
    curve,
    final_win_rates,
    outcome_text,
    sft_win_rate,
    share_text,
    win_rates,
)
from overopt.replication.members import Member, Members

SCALE = ("#0d0887", "#7e03a8", "#cc4778", "#f0844b")
"""Ends and middle of an ordered palette (plasma without its yellow): safe for the color-blind, darker means less."""
BLACK, BLUE, ORANGE = "#000000", "#0072B2", "#D55E00"
SOLID, DASHED, DOTTED = (1, 0), (5, 2), (1.5, 1.5)

COLUMN, PAGE = 240, 500
"""Widths of a figure in points: one column of a paper (3.3 in) and both (6.9 in)."""

BAND_SEEDS = 3
"""Fewest seeds with a band: Student's interval of two is 13 standard errors wide to either side."""

WIN_RATE = "win rate against the references"
RULE = ", dashed gray"


@dataclass(frozen=True, eq=False)  # compared and hashed by identity
class Line:
    """The runs of one setting, drawn as one line."""

    entry: str
    """What the legend calls it: unique in its block."""
    runs: Sequence[Member]
    color: str
    dash: tuple[float, float] = SOLID


@dataclass(frozen=True)
class Legend:
    """A table: a swatch, the entry, and cells."""

    heads: tuple[str, ...]
    rows: tuple[tuple[Line, tuple[str, ...]], ...]
    below: str = ""


@dataclass(frozen=True)
class Block:
    """Panels in rows that share a legend; blocks stand side by side."""

    title: str
    panels: tuple[Panel, ...]
    legend: Legend | None = None
    per_row: int = 1


@dataclass(frozen=True)
class Figure:
    """One figure of the paper, drawn from our records."""

    name: str
    title: str
    shows: str
    """What our figure shows, with its numbers."""
    caption: str
    """How to read it."""
    scale: str
    """What stands for the paper's models, and how many seeds."""
    blocks: tuple[Block, ...]
    width: int = PAGE
    height: int = 62
    """Of a panel, in points."""


def make_block(
    title: str, panels: Sequence[Panel | None], legend: Legend | None = None, per_row: int = 1
) -> Block | None:
    """A block of the panels that have numbers, or None if none has."""
    drawn = tuple(panel for panel in panels if panel is not None)
    return Block(title, drawn, legend, per_row) if drawn else None


def palette(count: int) -> list[str]:
    """So many colors in order."""
    anchors = np.array([[int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in SCALE], float)
    places = np.linspace(0, len(anchors) - 1, count)
    mixed = np.stack([np.interp(places, range(len(anchors)), channel) for channel in anchors.T], axis=1)
    return ["#" + "".join(f"{round(value):02x}" for value in color) for color in mixed]


def settings(members: Members, rows: Sequence[str], name: str) -> list[Any]:
    """The values of a setting in these rows, planned or run: numbers ascending, then names."""
    planned = {setting[name] for row, setting, _ in members.planned if row in rows and name in setting}
    found = planned | {run.setting[name] for run in members.runs if run.row in rows and name in run.setting}
    return sorted(found, key=lambda value: (isinstance(value, str), value))


def grid(members: Members, row: str, name: str, colors: Mapping[Any, str]) -> list[Line]:
    """A line for each value of a row's setting that has runs; the line of 0 is dashed."""
    lines = [
        Line(number(value), members.of(row, **{name: value}), color, DASHED if value == 0 else SOLID)
        for value, color in colors.items()
    ]
    return [line for line in lines if line.runs]


def colors_of(members: Members, rows: Sequence[str], name: str) -> dict[Any, str]:
    values = settings(members, rows, name)
    return dict(zip(values, palette(len(values)), strict=True))


def number(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"


def panel(
    name: str,
    title: str,
    lines: Sequence[Line],
    points_of: PointsOf,
    *,
    axis: Axis = LINEAR,
    domain: tuple[float, float] | None = None,
    rule: float | None = None,
    ends: Mapping[str, str] | None = None,
    evaluations: bool = False,
    x: str = "update",
) -> Panel | None:
    """Lines with their bands over seeds, or None if no run has points.

    `rule` draws a horizontal line; `ends` names the mark at a line's end, by entry; `evaluations` are drawn at their
    steps, and batches are averaged over blocks.
    """
    found = {
        line: [points for run in line.runs if (points := points_of(run)) is not None and len(points[0])]
        for line in lines
    }
    every = [points for parts in found.values() for points in parts]
    if not every:
        return None
    width = None if evaluations else block_width(every)
    curves = {line: curve(parts, width, axis) for line, parts in found.items() if parts}
    last = max(float(steps[-1]) for steps, _ in every)
    domain = domain or _domain(list(curves.values()), axis)
    marks = [
        (line.entry, points[-1], mark) for line, points in curves.items() if (mark := (ends or {}).get(line.entry))
    ]
    data: dict[str, Columns] = {
        "lines": table_of(("entry", "x", "y", "seeds"), [(e, p.x, p.mean, p.seeds) for e, p in _points(curves)]),
        "bands": table_of(
            ("entry", "x", "y", "low", "high", "seeds"),
            [(e, p.x, p.mean, p.low, p.high, p.seeds) for e, p in _points(curves) if p.seeds >= BAND_SEEDS],
        ),
        "rule": table_of(("y",), [] if rule is None else [(rule,)]),
        "ends": table_of(("entry", "x", "y", "mark"), [(e, p.x, p.mean, mark) for e, p, mark in marks]),
    }
    layers = _layers(name, lines, x, (0.0, last), domain, axis)
    return panel_of(title, layers, {f"{name}-{part}": table for part, table in data.items()})


def panel_of(title: str, layers: Sequence[dict[str, Any]], data: Mapping[str, Columns]) -> Panel:
    """A panel of the layers whose table is not empty: Vega warns of an infinite extent for an empty one."""
    full = {name: table for name, table in data.items() if any(table.values())}
    return Panel(title, {"title": title, "layer": [layer for layer in layers if layer["data"]["name"] in full]}, full)


def _points(curves: Mapping[Line, Sequence[Point]]) -> list[tuple[str, Point]]:
    return [(line.entry, point) for line, points in curves.items() for point in points]


def _domain(curves: Sequence[Sequence[Point]], axis: Axis) -> tuple[float, float]:
    """The range of the means, with as much of the bands as takes at most half of it again on either side."""
    points = [point for points in curves for point in points]
    means = axis.forward(np.array([point.mean for point in points]))
    bounds = axis.forward(np.array([bound for p in points if p.seeds >= BAND_SEEDS for bound in (p.low, p.high)]))
    low, high = float(means.min()), float(means.max())
    room = (high - low) / 2 or max(abs(high), 1e-6) / 20
    lowest = max(low - room, float(bounds.min(initial=low)))
    highest = min(high + room, float(bounds.max(initial=high)))
    margin = 0.04 * (highest - lowest) or room
    below, above = axis.back(np.array([lowest - margin, highest + margin]))
    return float(below), float(above)


def _layers(
    name: str, lines: Sequence[Line], x: str, steps: tuple[float, float], domain: tuple[float, float], axis: Axis
) -> list[dict[str, Any]]:
    """The layers of a panel in Vega-Lite: a rule, bands, lines, and marks at their ends."""
    entries = [line.entry for line in lines]
    colors = {"domain": entries, "range": [line.color for line in lines]}
    dashes = {"domain": entries, "range": [list(line.dash) for line in lines]}
    marks = {"domain": list(MARKS), "range": list(MARKS.values())}
    at = {
        "field": "x", "type": "quantitative", "title": x, "scale": {"domain": list(steps), "nice": False},
        "axis": {"tickCount": 4, "grid": False},
    }  # fmt: skip
    y = {"type": "quantitative", "title": None, "scale": _y_scale(domain, axis), "axis": _y_axis(domain, axis)}
    color, dash, shape = (
        {"field": field, "type": "nominal", "scale": scale, "legend": None}
        for field, scale in (("entry", colors), ("entry", dashes), ("mark", marks))
    )
    tips = [_tip("entry", "setting", "nominal"), _tip("x", x), _tip("y", "mean")]
    wide = [_tip("low", "from"), _tip("high", "to"), _tip("seeds", "seeds")]
    mean = {"x": at, "y": y | {"field": "y"}, "color": color}
    return [
        _layer(
            f"{name}-rule", {"type": "rule", "color": "#808080", "strokeDash": [2, 2], "clip": True},
            {"y": y | {"field": "y"}},
        ),
        _layer(
            f"{name}-bands", {"type": "area", "opacity": 0.13 if len(lines) > 3 else 0.2, "clip": True},
            mean | {"y": y | {"field": "low"}, "y2": {"field": "high"}, "tooltip": [*tips, *wide]},
        ),
        _layer(
            f"{name}-lines", {"type": "line", "clip": True},
            mean | {"strokeDash": dash, "tooltip": [*tips, _tip("seeds", "seeds")]},
        ),
        _layer(
            f"{name}-ends", {"type": "point", "filled": False, "opacity": 1}, mean | {"shape": shape, "tooltip": tips},
        ),
    ]  # fmt: skip


def _layer(table: str, mark: dict[str, Any], encoding: dict[str, Any]) -> dict[str, Any]:
    return {"data": {"name": table}, "mark": mark, "encoding": encoding}


def _tip(field: str, title: str, kind: str = "quantitative") -> dict[str, Any]:
    return {"field": field, "type": kind, "title": title} | ({} if kind == "nominal" else {"format": ".4~g"})


def _y_scale(domain: tuple[float, float], axis: Axis) -> dict[str, Any]:
    kind = {} if axis.linear_below is None else {"type": "symlog", "constant": axis.linear_below}
    return {"domain": list(domain), "nice": False, "zero": False} | kind


def _y_axis(domain: tuple[float, float], axis: Axis) -> dict[str, Any]:
    """Few ticks; on a logarithmic axis at powers of ten, or at 1, 2, 5, 10 ... where there is one power at most."""
    if axis.linear_below is None:
        return {"tickCount": 4}
    tens = [10.0**power for power in range(-5, 6) if 10.0**power >= axis.linear_below]
    for sizes in (tens, [factor * ten for ten in tens for factor in (1, 2, 5)]):
        ticks = [value for value in (*(-size for size in sizes), 0.0, *sizes) if domain[0] <= value <= domain[1]]
        if len(ticks) > 1:
            return {"values": sorted(ticks), "format": ".4~g"}
    return {"tickCount": 4, "format": ".4~g"}


def win_rate_panel(name: str, lines: Sequence[Line]) -> Panel | None:
    """Win rates at evaluations, with SFT's as a dashed line."""
    runs = [run for line in lines for run in line.runs]
    return panel(
        name, WIN_RATE, lines, win_rates, domain=(0.0, 1.0), rule=sft_win_rate(runs), evaluations=True
    )  # fmt: skip


def win_rate_legend(lines: Sequence[Line], setting: str, drawn: str = "") -> Legend:
    """Final win rates, mean over seeds with its interval, and outcomes, as a table; SFT's win rate below.

    `drawn` says how SFT's win rate is drawn, where it is.
    """
    rows = tuple((line, (share_text(final_win_rates(line.runs)), outcome_text(line.runs))) for line in lines)
    sft = sft_win_rate([run for line in lines for run in line.runs])
    return Legend((setting, "final win rate", "outcome"), rows, "" if sft is None else f"SFT {sft:.2f}{drawn}")


def scale_text(members: Members) -> str:
    """What stands for the paper's models, and the seeds."""
    seeds = members.seeds
    many = f"{len(seeds)} seeds: {', '.join(map(str, seeds))}" if len(seeds) > 1 else "one seed"
    many += ", so no bands" if len(seeds) < BAND_SEEDS else ""
    match members.scale:
        case "quick":
            return f"quick: one small model stands for all three sizes; {many}"
        case "miniature":
            return f"miniature: 51 thousand to 631 thousand parameters stand for 1B to 6.9B; {many}"
        case scale:
            return f"{scale} scale; {many}"
