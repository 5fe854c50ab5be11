"""The table of `overopt watch`: redrawn in place on a terminal, plain text elsewhere."""

from __future__ import annotations

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
from overopt.text_table import colored_table, text_table

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
    """Show the status of runs every `every` seconds until Ctrl-C, or with `once` a single time."""
    stream = stream or sys.stdout
    reader = StatusReader(places)
    try:
        if once:
            statuses = reader.read()
            if not statuses:
                raise UserError(f"{', '.join(map(str, places))}: no runs there; name folders that hold some")
            print(plain_table(statuses, _bars(stream)), file=stream, flush=True)
        elif stream.isatty():
            _show_live(reader, every, stream, sleep)
        else:
            while True:
                print(plain_table(reader.read(), _bars(stream)), end="\n\n", file=stream, flush=True)
                sleep(every)
    except KeyboardInterrupt:
        pass  # how one stops watching


def plain_table(statuses: Sequence[RunStatus], bars: str = BARS) -> str:
    """The table and its summary as aligned text, for pipes and logs."""
    rows = [cells(status, bars) for status in statuses]
    return "\n".join([text_table(COLUMNS, rows, rule=False), "", summary(statuses)])


def live_table(statuses: Sequence[RunStatus], width: int) -> Table:
    """The table in color, with the columns that a terminal of this width holds, and its summary."""
    from rich.text import Text

    rows = [cells(status) for status in statuses]
    caption = Text(summary(statuses))
    return colored_table(COLUMNS, rows, STYLES, width, EXPENDABLE, caption=caption, caption_justify="left")


def summary(statuses: Sequence[RunStatus]) -> str:
    """`12:30:05  24 runs: 3 running, 20 finished, 1 stalled`."""
    counts = Counter(_clean(status.status) for status in statuses)
    runs = f"{len(statuses)} run" + ("" if len(statuses) == 1 else "s")
    listed = ", ".join(f"{count} {status}" for status, count in counts.items())
    return f"{datetime.now():%H:%M:%S}  {runs}" + (f": {listed}" if listed else " yet")


def cells(status: RunStatus, bars: str = BARS) -> tuple[str, ...]:
    """A row of the table. Anybody may have written the names and reasons in it, so control characters are escaped."""
    step = "-" if status.step is None else str(status.step)
    numbers = status.numbers
    return (
        _clean(status.name, shorten=False),
        _clean(status.stage),
        _clean(status.status),
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
    """A series in one line, scaled from its least to its greatest value; each character is the mean of its share."""
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


def most_urgent(statuses: Sequence[RunStatus], lines: int) -> list[RunStatus]:
    """The runs that fit on the screen, in their own order: those in trouble first, then those that are running."""
    rank = {"running": 1} | dict.fromkeys(TROUBLED, 0)
    first = sorted(range(len(statuses)), key=lambda place: (rank.get(statuses[place].status, 2), place))
    return [statuses[place] for place in sorted(first[: max(1, lines)])]


def _remark(status: RunStatus) -> str:
    if status.status == "stalled" and status.silent is not None:
        return f"nothing written for {duration(status.silent)}"
    return _clean(status.reason)


def _clean(text: str, shorten: bool = True) -> str:
    line = " ".join(escape_controls(text).split())
    return f"{line[: LONGEST_CELL - 3]}..." if shorten and len(line) > LONGEST_CELL else line


def _bars(stream: TextIO) -> str:
    try:
        BARS.encode(getattr(stream, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return ASCII_BARS
    return BARS


def _show_live(reader: StatusReader, every: float, stream: TextIO, sleep: Callable[[float], None]) -> None:
    from rich.console import Console
    from rich.live import Live

    console = Console(file=stream)
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            live.update(live_table(most_urgent(reader.read(), console.height - 6), console.width), refresh=True)
            sleep(every)
