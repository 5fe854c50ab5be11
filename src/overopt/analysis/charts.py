"""Charts of plain values: a common layout, and files in SVG, PDF and PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from overopt.analysis.text import escape_tree
from overopt.errors import UserError

WIDTH, HEIGHT = 330, 190


def chart_of(values: Sequence[Mapping[str, Any]]) -> Any:
    """A chart of plain values. (Altair's types are too loose to be checked.)"""
    import altair as alt

    return alt.Chart(alt.InlineData(values=list(values)))


def side_by_side(columns: Sequence[Any], title: Any) -> Any:
    """Charts in a row below a title, in the common style."""
    import altair as alt

    return (
        alt.hconcat(*columns, spacing=40)
        .properties(title=title)
        .configure_view(stroke=None)
        .configure_axis(grid=True, gridColor="#eeeeee", labelFontSize=11, titleFontSize=11)
        .configure(background="white", padding=12)
    )


def render(spec: dict[str, Any], kind: str) -> bytes:
    """A Vega-Lite document as `svg`, `pdf` or `png`. Control characters in its text are made visible."""
    import vl_convert

    spec = escape_tree(spec)  # XML has no place for them: the converter would abort the process
    if kind == "svg":
        svg: str = vl_convert.vegalite_to_svg(spec)
        return svg.encode()
    image: bytes = vl_convert.vegalite_to_pdf(spec) if kind == "pdf" else vl_convert.vegalite_to_png(spec, scale=2)
    return image


def write_chart(chart: Any, path: Path) -> None:
    """Write a chart in the format that the suffix of the path names."""
    content = render(chart.to_dict(), path.suffix.lower().removeprefix("."))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); choose another place with -o") from None
