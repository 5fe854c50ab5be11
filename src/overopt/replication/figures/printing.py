"""A figure as SVG and PDF of exactly its width, for a paper's column."""

from __future__ import annotations

import copy
import re
import textwrap
from typing import Any

from overopt.analysis.charts import render
from overopt.analysis.report.figures.drawing import rows_of
from overopt.replication.figures.drawing import Block, Figure, Legend

PADDING, GAP, LABELS = 5, 16, 21
"""Around a figure; between blocks; for the labels of a y-axis."""
BETWEEN = 23
"""From a panel to the one below: labels of its x-axis, and the title of that below."""
ROW = 9
"""Height of a row of a legend."""
BODY, SMALL = 7.0, 6.5
"""Sizes of text, in points."""
CHARACTER = 0.53
"""Width of an average character, in sizes of text."""


def printed(figure: Figure) -> dict[str, Any]:
    """The figure as one Vega-Lite document with its numbers, a unit standing for a point."""
    panels = [panel for block in figure.blocks for panel in block.panels]
    letters = int((figure.width - 2 * PADDING) / (CHARACTER * SMALL))
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "background": "white",
        "padding": PADDING,
        "title": {
            "text": textwrap.wrap(figure.title, int(letters * 0.75)),
            "subtitle": textwrap.wrap(figure.scale, letters),
            "anchor": "start",
            "frame": "bounds",
            "fontSize": 8.5,
            "fontWeight": "bold",
            "subtitleFontSize": SMALL,
            "subtitleColor": "#555555",
            "offset": 5,
        },
        "hconcat": [_block(block, figure) for block in figure.blocks],
        "spacing": GAP,
        "datasets": {name: rows_of(table) for panel in panels for name, table in panel.data.items()},
        "config": {
            "view": {"stroke": None},
            "title": {"fontSize": BODY, "fontWeight": "normal", "anchor": "start", "frame": "group", "offset": 3},
            "axis": {
                "gridColor": "#eeeeee", "labelFontSize": SMALL, "titleFontSize": SMALL, "titleFontWeight": "normal",
                "tickSize": 2, "labelPadding": 1.5, "titlePadding": 1, "labelOverlap": "greedy", "labelSeparation": 2,
                "gridWidth": 0.5, "tickWidth": 0.5, "domainWidth": 0.5, "labelFlush": True,
            },
            "axisY": {"minExtent": LABELS - 3, "maxExtent": LABELS - 3},
            "line": {"strokeWidth": 1.1},
            "rule": {"strokeWidth": 0.8},
            "point": {"size": 28, "strokeWidth": 1.3},
            "text": {"fontSize": SMALL},
        },
    }  # fmt: skip


def svg_of(figure: Figure) -> str:
    """The SVG, its width in points; scaled down if its natural width is larger."""
    natural = render(printed(figure), "svg").decode()
    found = re.search(r'width="([\d.]+)" height="([\d.]+)" viewBox="[^"]*"', natural)
    assert found, "an SVG begins with its size"
    wide, high = float(found[1]), float(found[2])
    shown = max(wide, figure.width)  # what is narrower gets a margin on the right
    height = high * figure.width / shown
    size = f'width="{figure.width}pt" height="{height:.1f}pt" viewBox="0 0 {shown:g} {high:g}"'
    rest = natural[found.end() :].replace(f'<rect width="{found[1]}"', f'<rect width="{shown:g}"', 1)  # the background
    return natural[: found.start()] + size + rest


def pdf_of(svg: str) -> bytes:
    """An SVG as a PDF of the same size, with its fonts."""
    import vl_convert

    without_units = re.sub(r'width="([\d.]+)pt" height="([\d.]+)pt"', r'width="\1" height="\2"', svg, count=1)
    content: bytes = vl_convert.svg_to_pdf(without_units)
    return content


def _block(block: Block, figure: Figure) -> dict[str, Any]:
    count = len(figure.blocks)
    width = (figure.width - 2 * PADDING - GAP * (count - 1)) / count
    panel_width = round(width / block.per_row - LABELS - (6 if block.per_row > 1 else 8))
    specs = [copy.deepcopy(panel.spec) | {"width": panel_width, "height": figure.height} for panel in block.panels]
    rows = [specs[start : start + block.per_row] for start in range(0, len(specs), block.per_row)]
    for row in rows[:-1]:
        for spec in row:
            _without_x_title(spec)
    if block.per_row == 1:
        stacked: list[dict[str, Any]] = specs
    else:
        stacked = [{"hconcat": row, "spacing": 6, "resolve": _OWN} for row in rows]
    if block.legend:
        stacked.append(_legend(block.legend, panel_width))
    unit: dict[str, Any] = {"vconcat": stacked, "spacing": 5, "resolve": _OWN}
    if block.per_row == 1:  # panels of neighboring blocks at one height, however high their labels are
        unit |= {"bounds": "flush", "spacing": BETWEEN}
    if block.title:
        unit["title"] = {
            "text": block.title, "fontSize": BODY + 0.5, "fontWeight": "bold", "frame": "bounds", "offset": 3,
        }  # fmt: skip
    return unit


_OWN = {"scale": {"color": "independent", "strokeDash": "independent", "shape": "independent"}}


def _without_x_title(spec: dict[str, Any]) -> None:
    for layer in spec["layer"]:
        if "x" in layer["encoding"]:
            layer["encoding"]["x"]["title"] = None


def _legend(legend: Legend, width: float) -> dict[str, Any]:
    """The legend as a table: swatches and columns of text at fixed places."""
    cells = [(line.entry, *texts) for line, texts in legend.rows]
    wide = [max(map(_width, column)) for column in zip(legend.heads, *cells, strict=True)]
    starts = [18.0 - LABELS]  # from the left end of the axis' labels
    for column in wide[:-1]:
        starts.append(starts[-1] + column + 7)
    top = 4  # below the title of the x-axis
    swatches = [{"y": top + (place + 1.5) * ROW, "entry": row[0]} for place, row in enumerate(cells)]
    texts = [
        {"y": top + (place + 0.5) * ROW, "x": start, "text": text}
        for place, row in enumerate([legend.heads, *cells])
        for start, text in zip(starts, row, strict=True)
    ]
    if legend.below:
        texts.append({"y": top + (len(cells) + 1.5) * ROW, "x": starts[0], "text": legend.below})
    entries = [line.entry for line, _ in legend.rows]
    color = {"domain": entries, "range": [line.color for line, _ in legend.rows]}
    dash = {"domain": entries, "range": [list(line.dash) for line, _ in legend.rows]}
    y = {"field": "y", "type": "quantitative", "scale": None}
    return {
        "width": round(width),
        "height": top + (len(cells) + 1 + bool(legend.below)) * ROW,
        "layer": [
            {
                "data": {"values": swatches},
                "mark": {"type": "rule", "strokeWidth": 1.4},
                "encoding": {
                    "x": {"value": -LABELS},
                    "x2": {"value": 14 - LABELS},
                    "y": y,
                    "color": {"field": "entry", "type": "nominal", "scale": color, "legend": None},
                    "strokeDash": {"field": "entry", "type": "nominal", "scale": dash, "legend": None},
                },
            },
            {
                "data": {"values": texts},
                "mark": {"type": "text", "align": "left", "baseline": "middle"},
                "encoding": {
                    "x": {"field": "x", "type": "quantitative", "scale": None},
                    "y": y,
                    "text": {"field": "text", "type": "nominal"},
                },
            },
        ],
        "resolve": _OWN,
    }


def _width(text: str) -> float:
    """About how wide a text is, in points."""
    narrow = sum(letter in " .,:;|[]()ijlftr'−-" for letter in text)
    capitals = sum(letter.isupper() for letter in text)
    return SMALL * (0.56 * (len(text) - narrow - capitals) + 0.31 * narrow + 0.7 * capitals)
