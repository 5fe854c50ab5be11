"""Writes a report: the page, and each figure as a file in a folder beside it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from overopt.analysis.charts import render
from overopt.analysis.report.collect import Collection, Group
from overopt.analysis.report.figures import FAMILIES
from overopt.analysis.report.figures.drawing import Figure, printed
from overopt.analysis.report.page import page
from overopt.errors import UserError
from overopt.records.atomic import replace_file

TITLE = "overopt report"


def write_report(
    collection: Collection,
    out: Path,
    formats: Sequence[str] = ("html",),
    families: Sequence[str] = (),
    title: str = TITLE,
) -> list[Path]:
    """Write the page to `out` and the figures into the folder beside it; returns the files written.

    The page is written if `html` is among the formats, and comes with SVG figures; other formats write figures only.
    """
    figures = draw_all(collection.groups, families)
    kinds = dict.fromkeys("svg" if kind == "html" else kind for kind in formats)
    written = [out] if "html" in formats else []
    if "html" in formats:
        replace_file(out, page(collection, figures, title).encode())
    folder = figures_folder(out)
    for group in collection.groups:
        by = f", labels by {group.judges[0]}" if group.names_judges else ""
        for figure in figures[group.slug]:
            for kind in kinds:
                file = folder / f"{group.slug}-{figure.name}.{kind}"
                replace_file(file, render(printed(figure, group.title + by), kind))
                written.append(file)
    return written


def make_page(collection: Collection, families: Sequence[str] = (), title: str = TITLE) -> str:
    return page(collection, draw_all(collection.groups, families), title)


def check_out(out: Path, families: Sequence[str]) -> None:
    """Refuse unusable options before anything is read."""
    if unknown := [name for name in families if name not in FAMILIES]:
        raise UserError(f"--figures {unknown[0]}: no such figure; there are {', '.join(FAMILIES)}")
    if out.suffix in (".svg", ".pdf", ".png"):
        raise UserError(
            f"-o {out}: names the page, which is HTML; with --format {out.suffix[1:]} the figures go into "
            f"{figures_folder(out)}{os.sep}"
        )
    if out.is_dir():
        raise UserError(f"-o {out}: is a directory; name a file, such as {out / 'report.html'}")


def figures_folder(out: Path) -> Path:
    """The folder of the figures: `report_figures/` for `report.html`."""
    return out.with_name(f"{out.stem}_figures")


def draw_all(groups: Sequence[Group], families: Sequence[str] = ()) -> dict[str, list[Figure]]:
    """The figures of every group by its slug, of the named families or of all."""
    chosen = [FAMILIES[name] for name in FAMILIES if not families or name in families]
    return {group.slug: [figure for draw in chosen if (figure := draw(group)) is not None] for group in groups}
