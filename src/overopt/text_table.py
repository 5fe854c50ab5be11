"""Tables on a terminal and in a pipe: aligned plain text, or in color with the columns for which there is room."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

GAP = "  "
FRAME = 3
"""Characters that a colored table adds to the width of each column."""


def text_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, rule: bool = True, right: Collection[str] = ()
) -> str:
    """The table as lines of aligned text, with a rule below the header; columns named in `right` are right-aligned."""
    widths = _widths(header, rows)
    lines = [
        GAP.join(
            cell.rjust(width) if name in right else cell.ljust(width)
            for name, cell, width in zip(header, row, widths, strict=True)
        ).rstrip()
        for row in [header, *rows]
    ]
    return "\n".join([lines[0], *(["-" * max(map(len, lines))] if rule else []), *lines[1:]])


def fitting_columns(
    header: Sequence[str], rows: Sequence[Sequence[str]], width: int, expendable: Sequence[str]
) -> list[int]:
    """Indices of the columns of a colored table that fit into a width; `expendable` ones are dropped in their order."""
    widths = dict(zip(header, _widths(header, rows), strict=True))
    shown = list(header)
    for name in expendable:
        if sum(widths[column] + FRAME for column in shown) > width:
            shown.remove(name)
    return [header.index(name) for name in shown]


def colored_table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    styles: Mapping[str, str],
    width: int,
    expendable: Sequence[str],
    **options: Any,
) -> Table:
    """The table for a terminal of some width. A cell whose text is among `styles` gets that style."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), **options)
    places = fitting_columns(header, rows, width, expendable)
    for place in places:
        table.add_column(header[place], no_wrap=True)
    for row in rows:
        table.add_row(*(Text(row[place], styles.get(row[place], "")) for place in places))
    return table


def _widths(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(header, *rows, strict=True)]
