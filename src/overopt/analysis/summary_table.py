"""The table of a study's runs with a verdict for each, on a terminal and in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TextIO

from overopt.analysis.disagreement import disagreements, judges_in, told_apart
from overopt.analysis.report.collect import distinct_names
from overopt.analysis.run_summary import Judged, RunSummary, summarize_run, verdict
from overopt.analysis.text import escape_controls, signed
from overopt.outcomes import JUDGED_STAGES
from overopt.records import load_run
from overopt.records.study_folder import failed_gate_before
from overopt.text_table import colored_table, text_table

OUTCOME, WIN_RATE, SFT = "outcome", "win rate (95 %)", "SFT"
EXPENDABLE = ("objective", "gold", "KL", "coef", "lr", "proxy", SFT)
"""Columns that a narrow terminal goes without, the first ones first; a run's name tells its objective."""
STYLES = {"GOOD": "green", "OVER": "bold red", "OVER-PEAK": "red", "COLLAPSE": "magenta"}

Columns = dict[str, Callable[[RunSummary], str]]
"""What a column shows of a run, by its heading."""


def print_table(rows: Sequence[RunSummary], title: str = "", stream: TextIO | None = None) -> None:
    """Print table and verdicts: in color on a terminal, as plain unwrapped text elsewhere.

    Where several judges labeled the runs, each has columns of its own, and their disagreement is told.
    """
    stream, rows = stream or sys.stdout, told_apart(rows)
    columns = _columns(rows)
    cells = [tuple(show(row) for show in columns.values()) for row in rows]
    if stream.isatty():
        _print_colored(rows, list(columns), cells, title, stream)
        return
    width = max((len(row.run) for row in rows), default=0)
    verdicts = [f"{row.run.ljust(width)}  {verdict(row)}" for row in rows]
    said = disagreements(rows)
    lines = [*([title, ""] if title else []), text_table(list(columns), cells), "", *verdicts, *([""] if said else [])]
    print(*lines, *said, sep="\n", file=stream, flush=True)


def judges_table(rows: Sequence[RunSummary]) -> str:
    """The labels and win rates of some runs with a column for each judge, and where the judges disagree.

    Empty where only the judge with which they were trained has judged them.
    """
    rows = told_apart(rows)
    if not _names_judges(rows):
        return ""
    columns: Columns = {"run": lambda row: row.run} | _of_judges(judges_in(rows))
    cells = [[show(row) for show in columns.values()] for row in rows]
    said = disagreements(rows)
    return "\n".join([text_table(list(columns), cells), *([""] if said else []), *said])


def labels_of_runs(runs: Sequence[Path]) -> str:
    """The table of judges for some runs, from their records alone; empty where nobody judged them since they ended."""
    judged = [run for run in map(load_run, runs) if run.stage in JUDGED_STAGES]
    names = distinct_names(judged)
    return judges_table(
        [
            summarize_run(name, run.config, run, gate=failed_gate_before(run.path))
            for name, run in zip(names, judged, strict=True)
        ]
    )


def _print_colored(
    rows: Sequence[RunSummary], header: Sequence[str], cells: Sequence[tuple[str, ...]], title: str, stream: TextIO
) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(file=stream)
    later = [name for name in header if name.startswith("win rate by")][:0:-1]
    expendable = [name for name in (*EXPENDABLE, *later) if name in header]
    console.print(
        colored_table(header, cells, STYLES, console.width - 2, expendable, title=title or None, title_justify="left")
    )
    for row in rows:
        console.print(Text(row.run, "bold") + Text(f"  {verdict(row)}", "not bold"))
    for sentence in disagreements(rows):
        console.print(Text(sentence))


def _names_judges(rows: Sequence[RunSummary]) -> bool:
    """Whether somebody besides the judges with which the runs were trained has judged them."""
    return len(judges_in(rows)) > 1 or any(row.judge_hash is not None for row in rows)


def _columns(rows: Sequence[RunSummary]) -> Columns:
    judged: Columns = {OUTCOME: _outcome, WIN_RATE: _rate, SFT: lambda row: _number(row.sft_win_rate, ".2f")}
    if _names_judges(rows):
        judged = _of_judges(judges_in(rows))
    return {
        "run": lambda row: row.run,
        "objective": lambda row: row.objective,
        "coef": lambda row: _number(row.coefficient, "g"),
        "lr": lambda row: _number(row.lr, "g"),
        **judged,
        "proxy": lambda row: f"{signed(row.proxy_start)} -> {signed(row.proxy_end)}",
        "gold": lambda row: f"{signed(row.gold_start)} -> {signed(row.gold_end)}",
        "KL": lambda row: _number(row.kl_ref, ".1f"),
    }


def _of_judges(judges: Sequence[str]) -> Columns:
    """A column for the outcome by each judge, then one for each win rate, SFT's and the last."""
    names = {judge: escape_controls(judge) for judge in judges}
    outcomes: Columns = {f"outcome by {name}": partial(_outcome_by, judge=judge) for judge, name in names.items()}
    return outcomes | {f"win rate by {name}": partial(_rates_by, judge=judge) for judge, name in names.items()}


def _outcome_by(row: RunSummary, judge: str) -> str:
    found = row.by(judge)
    return "-" if found is None else found.label or ("gate" if row.gate else "-")


def _rates_by(row: RunSummary, judge: str) -> str:
    found = row.by(judge)
    return "-" if found is None else f"{_number(found.sft_win_rate, '.2f')} -> {_rate(found)}"


def _outcome(row: RunSummary) -> str:
    return row.label or ("gate" if row.gate else "-")


def _rate(row: RunSummary | Judged) -> str:
    known = row.win_rate_low is not None and row.win_rate_high is not None
    interval = f" ({row.win_rate_low:.2f}-{row.win_rate_high:.2f})" if known else ""
    return _number(row.win_rate, ".2f") + interval


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else f"{value:{form}}"
