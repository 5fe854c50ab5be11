"""The table of `overopt watch`: redrawn in place on a terminal, plain text elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from overopt.analysis.run_status import RunStatus, StatusReader
from overopt.analysis.text import escape_controls
from overopt.errors import UserError

if TYPE_CHECKING:
    from rich.table import Table

BARS = "▁▂▃▄▅▆▇█"
ASCII_BARS = ".:-=+*#@"
CURVE_WIDTH = 16
LONGEST_CELL = 60

COLUMNS = ("run", "stage", "status", "step", "left", "win rate", "proxy", "gold", "KL", "curve", "")
EXPENDABLE = ("gold", "stage", "proxy", "KL", "curve", "win rate", "", "left")
"""Columns that a narrow terminal goes without, the first ones first."""

STYLES = {
    "running": "cyan",
    "finished": "green",
    "stopped": "yellow",
    "stalled": "bold yellow",
    "diverged": "bold red",
    "failed": "bold red",
    "unreadable": "bold red",
}
TROUBLED = ("stalled", "diverged", "failed", "unreadable")


def watch_runs(
    places: Sequence[Path],
    *,
    every: float = 2.0,
    once: bool = False,
    stream: TextIO | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Show the runs, again and again until Ctrl-C unless `once`. A reader that leaves ends it, too."""
    stream = stream or sys.stdout
    watch = StatusReader(places)
    try:
        if once:
            statuses = watch.read()
            if not statuses:
                raise UserError(f"{', '.join(map(str, places))}: no runs there; name folders that hold some")
            print(text_table(statuses, _bars(stream)), file=stream, flush=True)
        elif stream.isatty():
            _live(watch, every, stream, sleep)
        else:
            while True:
                print(text_table(watch.read(), _bars(stream)), end="\n\n", file=stream, flush=True)
                sleep(every)
    except KeyboardInterrupt:
        pass  # how one stops watching
    except BrokenPipeError:  # `| head` has seen enough; nothing may be flushed to it at the end either
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def text_table(statuses: Sequence[RunStatus], bars: str = BARS) -> str:
    """Aligned plain text, for pipes and logs."""
    lines = [COLUMNS, *(cells(status, bars) for status in statuses)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(COLUMNS))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([*text, "", summary(statuses)])


def summary(statuses: Sequence[RunStatus]) -> str:
    """`12:30:05  24 runs: 3 running, 20 finished, 1 stalled`."""
    counts = Counter(_cell(status.status) for status in statuses)
    runs = f"{len(statuses)} run" + ("" if len(statuses) == 1 else "s")
    words = ", ".join(f"{count} {status}" for status, count in counts.items())
    return f"{datetime.now():%H:%M:%S}  {runs}" + (f": {words}" if words else " yet")


def cells(status: RunStatus, bars: str = BARS) -> tuple[str, ...]:
    """A row. Names and reasons come from files that anybody may have written: nothing in them acts."""
    step = "-" if status.step is None else str(status.step)
    numbers = status.numbers
    return (
        _cell(status.name, shorten=False),
        _cell(status.stage),
        _cell(status.status),
        step + (f"/{status.steps}" if status.steps is not None else ""),
        "-" if status.left is None or status.status != "running" else duration(status.left),
        f"{numbers['win_rate']:.2f}" if "win_rate" in numbers else "-",
        f"{numbers['proxy']:+.2f}" if "proxy" in numbers else "-",
        f"{numbers['gold']:+.2f}" if "gold" in numbers else "-",
        f"{numbers['kl_ref']:.1f}" if "kl_ref" in numbers else "-",
        f"{sparkline(status.curve, bars)} {status.curve_of}".strip(),
        _remark(status),
    )


def sparkline(values: Sequence[float], bars: str = BARS, width: int = CURVE_WIDTH) -> str:
    """The course of a series in one line, from its least to its greatest value; each sign is the mean of its share."""
    values = [value for value in values if value - value == 0]  # neither NaN nor infinite
    if not values:
        return ""
    count = min(width, len(values))
    edges = [len(values) * place // count for place in range(count + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in pairwise(edges)]
    low, span = min(means), max(means) - min(means)
    top = len(bars) - 1
    return "".join(bars[round((mean - low) / span * top) if span else top // 2] for mean in means)


def duration(seconds: float) -> str:
    """`50 s`, `3 min`, `2.1 h`, `3.5 d`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172800 else f"{seconds / 86400:.1f} d"


def _remark(status: RunStatus) -> str:
    if status.status == "stalled" and status.silent is not None:
        return f"nothing written for {duration(status.silent)}"
    return _cell(status.reason)


def _cell(text: str, shorten: bool = True) -> str:
    line = " ".join(escape_controls(text).split())
    return f"{line[: LONGEST_CELL - 3]}..." if shorten and len(line) > LONGEST_CELL else line


def _bars(stream: TextIO) -> str:
    try:
        BARS.encode(getattr(stream, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return ASCII_BARS
    return BARS


def _live(watch: StatusReader, every: float, stream: TextIO, sleep: Callable[[float], None]) -> None:
    from rich.console import Console
    from rich.live import Live

    console = Console(file=stream)
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            statuses = watch.read()
            live.update(
                rich_table(fitting(statuses, console.height - 6), summary(statuses), console.width), refresh=True
            )
            sleep(every)


def fitting(statuses: Sequence[RunStatus], lines: int) -> list[RunStatus]:
    """As many as the screen holds: those in trouble and those that go on first, in their own order."""
    rank = {"running": 1} | dict.fromkeys(TROUBLED, 0)
    first = sorted(range(len(statuses)), key=lambda place: (rank.get(statuses[place].status, 2), place))
    return [statuses[place] for place in sorted(first[: max(1, lines)])]


def rich_table(statuses: Sequence[RunStatus], caption: str, width: int) -> Table:
    """The table in color, with the columns that a terminal of this width holds."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    rows = [cells(status) for status in statuses]
    table = Table(caption=Text(caption), caption_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1))
    places = fitting_columns(rows, width)
    for place in places:
        table.add_column(COLUMNS[place], no_wrap=True)
    for status, row in zip(statuses, rows, strict=True):
        style = STYLES.get(status.status, "")
        table.add_row(*(Text(row[place], style if COLUMNS[place] == "status" else "") for place in places))
    return table


def fitting_columns(rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """Places of the columns that fit side by side, with the three places that a frame takes between them."""
    widths = {name: max(len(row[place]) for row in [COLUMNS, *rows]) + 3 for place, name in enumerate(COLUMNS)}
    shown = list(COLUMNS)
    for name in EXPENDABLE:
        if sum(widths[column] for column in shown) > width:
            shown.remove(name)
    return [COLUMNS.index(name) for name in shown]
