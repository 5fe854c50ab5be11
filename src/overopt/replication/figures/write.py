"""Writes the paper's figures as files, and the page that holds them all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from overopt.records.atomic import replace_file
from overopt.replication.figures.drawing import Figure
from overopt.replication.figures.paper import PAPER
from overopt.replication.figures.printing import pdf_of, svg_of
from overopt.replication.members import Members
from overopt.replication.page import figures_page

FIGURES: dict[str, Callable[[Members], Figure | None]] = {name: figure.draw for name, figure in PAPER.items()}
"""The functions that draw figures 1 to 12, by name."""

FOLDER, PAGE = "figures", "figures.html"


def write_figures(members: Members, out: Path) -> list[Path]:
    """Write `figures/figure-N.svg` and `.pdf` and the page `figures.html`; returns the files, the page first.

    A figure whose rows have no records gets no files; those of an earlier study are removed.
    """
    drawn = {name: draw(members) for name, draw in FIGURES.items()}
    page = out / PAGE
    replace_file(page, figures_page(members, drawn).encode())
    written = [page]
    for name, figure in drawn.items():
        files = [out / FOLDER / f"{name}.{kind}" for kind in ("svg", "pdf")]
        if figure is None:
            for file in files:
                file.unlink(missing_ok=True)
            continue
        svg = svg_of(figure)
        for file, content in zip(files, (svg.encode(), pdf_of(svg)), strict=True):
            replace_file(file, content)
        written += files
    return written
