"""The paper's figures on one HTML page, each beside what the paper's must show and what ours shows.

As in the report, the page contains its style, program, drawing library and data, and everything that comes from records
is embedded as JSON and shown as text.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from overopt.analysis.report.page import encoded, filled
from overopt.replication.figures.drawing import Block, Figure, Legend, scale_text
from overopt.replication.figures.paper import PAPER
from overopt.replication.members import Members

HERE = Path(__file__).parent


def figures_page(members: Members, figures: Mapping[str, Figure | None]) -> str:
    """The HTML of the page; `figures` by name, None where no row has records."""
    html, style, program = ((HERE / f"page.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
    return filled(html, style, program, content(members, figures))


def content(members: Members, figures: Mapping[str, Figure | None]) -> dict[str, Any]:
    """Everything that the page shows, as plain data."""
    return {
        "title": f"{members.study}: the paper's figures",
        "figures": [_figure(members, name, figure) for name, figure in figures.items()],
    }


def _figure(members: Members, name: str, figure: Figure | None) -> dict[str, Any]:
    paper = PAPER[name]
    shared = {
        "name": name,
        "must_show": paper.must_show,
        "missing": paper.missing(members),
        "notes": paper.notes(members),
        "scale": scale_text(members),
    }
    if figure is None:
        title = name.replace("-", " ").capitalize()
        return shared | {"title": title, "shows": None, "caption": "", "blocks": []}
    return shared | {
        "title": figure.title,
        "shows": figure.shows,
        "caption": figure.caption,
        "blocks": [_block(block) for block in figure.blocks],
    }


def _block(block: Block) -> dict[str, Any]:
    return {
        "title": block.title,
        "panels": [
            {"title": panel.title, "spec": panel.spec, "data": {name: encoded(t) for name, t in panel.data.items()}}
            for panel in block.panels
        ],
        "legend": block.legend and _legend(block.legend),
    }


def _legend(legend: Legend) -> dict[str, Any]:
    return {
        "heads": list(legend.heads),
        "rows": [
            {"color": line.color, "dash": list(line.dash), "cells": [line.entry, *cells]} for line, cells in legend.rows
        ],
        "below": legend.below,
    }
