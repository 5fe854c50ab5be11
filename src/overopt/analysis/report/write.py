"""A report on the disk: the page, and each figure as a file beside it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from overopt.analysis.report.collect import Collection, Group
from overopt.analysis.report.figures import FAMILIES
from overopt.analysis.report.figures.drawing import Figure, printed
from overopt.analysis.report.page import page
from overopt.errors import UserError

TITLE = "overopt report"


def write_report(
    collection: Collection,
    out: Path,
    formats: Sequence[str] = ("html",),
    families: Sequence[str] = (),
    title: str = TITLE,
) -> list[Path]:
    """Write `out` (with html among the formats) and its figures into the folder beside it; all files written.

    The page comes with SVG figures. The other formats alone give figures alone.
    """
    figures = draw_all(collection.groups, families)
    kinds = dict.fromkeys("svg" if kind == "html" else kind for kind in formats)
    written = [out] if "html" in formats else []
    try:
        if "html" in formats:
            replace(out, page(collection, figures, title).encode())
        folder = figures_folder(out)
        for group in collection.groups:
            for figure in figures[group.slug]:
                for kind in kinds:
                    file = folder / f"{group.slug}-{figure.name}.{kind}"
                    replace(file, rendered(figure, group, kind))
                    written.append(file)
    except OSError as error:
        raise UserError(f"{error.filename or out}: cannot be written ({error.strerror}); choose another -o") from error
    return written


def make_page(collection: Collection, families: Sequence[str] = (), title: str = TITLE) -> str:
    return page(collection, draw_all(collection.groups, families), title)


def check_out(out: Path, families: Sequence[str]) -> None:
    """Refuse what would be refused at the end, before anything is read."""
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
    """`report.html` has its figures in `report_figures/`."""
    return out.with_name(f"{out.stem}_figures")


def draw_all(groups: Sequence[Group], families: Sequence[str] = ()) -> dict[str, list[Figure]]:
    """The figures of every group, by its slug; of the families that are named, or of all."""
    chosen = [FAMILIES[name] for name in FAMILIES if not families or name in families]
    return {group.slug: [figure for draw in chosen if (figure := draw(group)) is not None] for group in groups}


def rendered(figure: Figure, group: Group, kind: str) -> bytes:
    """A figure as the bytes of a file."""
    import vl_convert

    spec = printed(figure, group.title)
    if kind == "svg":
        svg: str = vl_convert.vegalite_to_svg(spec)
        return svg.encode()
    content: bytes = vl_convert.vegalite_to_pdf(spec) if kind == "pdf" else vl_convert.vegalite_to_png(spec, scale=2)
    return content


def replace(file: Path, content: bytes) -> None:
    """Whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    half = file.with_name(f".{file.name}.partial")
    try:
        half.write_bytes(content)
        os.replace(half, file)
    except OSError:
        half.unlink(missing_ok=True)
        raise
