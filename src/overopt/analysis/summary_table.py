"""The table of a study's runs with a verdict for each, on a terminal and in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TextIO

from overopt.analysis.run_summary import RunSummary, verdict
from overopt.analysis.text import signed
from overopt.text_table import colored_table, text_table

COLUMNS = (
    "run", "objective", "coef", "lr", "outcome", "win rate (95 %)", "SFT", "proxy", "gold", "KL",
)  # fmt: skip
EXPENDABLE = ("objective", "gold", "KL", "coef", "lr", "proxy", "SFT")
"""Columns that a narrow terminal goes without, the first ones first; a run's name tells its objective."""
STYLES = {"GOOD": "green", "OVER": "bold red", "OVER-PEAK": "red", "COLLAPSE": "magenta"}


def print_table(rows: Sequence[RunSummary], title: str = "", stream: TextIO | None = None) -> None:
    """Print table and verdicts: in color on a terminal, as plain unwrapped text elsewhere."""
    stream = stream or sys.stdout
    cells = [_cells(row) for row in rows]
    if stream.isatty():
        _print_colored(rows, cells, title, stream)
        return
    width = max((len(row.run) for row in rows), default=0)
    verdicts = "\n".join(f"{row.run.ljust(width)}  {verdict(row)}" for row in rows)
    heading = [title, ""] if title else []
    print(*heading, text_table(COLUMNS, cells), "", verdicts, sep="\n", file=stream, flush=True)


def _print_colored(rows: Sequence[RunSummary], cells: Sequence[tuple[str, ...]], title: str, stream: TextIO) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(file=stream)
    console.print(
        colored_table(COLUMNS, cells, STYLES, console.width - 2, EXPENDABLE, title=title or None, title_justify="left")
    )
    for row in rows:
        console.print(Text(row.run, "bold") + Text(f"  {verdict(row)}", "not bold"))


def _cells(row: RunSummary) -> tuple[str, ...]:
    interval = (
        f" ({row.win_rate_low:.2f}-{row.win_rate_high:.2f})"
        if row.win_rate_low is not None and row.win_rate_high is not None
        else ""
    )
    return (
        row.run,
        row.objective,
        _number(row.coefficient, "g"),
        _number(row.lr, "g"),
        row.label or ("gate" if row.gate else "-"),
        _number(row.win_rate, ".2f") + interval,
        _number(row.sft_win_rate, ".2f"),
        f"{signed(row.proxy_start)} -> {signed(row.proxy_end)}",
        f"{signed(row.gold_start)} -> {signed(row.gold_end)}",
        _number(row.kl_ref, ".1f"),
    )


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else f"{value:{form}}"
