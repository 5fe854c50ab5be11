"""What is written about a study: figures, claims and answers beside its runs, and a folder small enough to publish."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from overopt.records.atomic import replace_file, replace_json
from overopt.replication.claims.check import ClaimRow, check
from overopt.replication.claims.thresholds import Thresholds
from overopt.replication.exchange import read_exchange, write_exchange
from overopt.replication.figures.write import write_figures
from overopt.replication.members import Members
from overopt.replication.questions.write import write_answer
from overopt.replication.tables import reward_models_table, runs_table

PAPER = "maxent-failure-modes"
"""The study that has the paper's claims and figures."""
CLAIMS, TABLES = "claims.json", "tables.md"


def write_results(members: Members, out: Path) -> Iterator[str]:
    """Write figures, claims and answers of a study into its folder; yields a line about each."""
    replace_file(out / TABLES, tables(members).encode())
    yield f"tables: {out / TABLES}"
    if members.study == PAPER:
        yield f"figures: {write_figures(members, out)[0]}"
        rows = check(members, Thresholds())
        write_claims(rows, out)
        counts = Counter(row.verdict for row in rows if not row.part)
        verdicts = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
        yield f"claims: {verdicts}; overopt claims {out}"
    if answers := write_answer(members, out):
        yield f"answers: {next(file for file in answers if file.suffix == '.html')}"


def export(members: Members, out: Path) -> Iterator[str]:
    """Write a study as Parquet and, from that, its results; `overopt claims` reads the folder as it reads a study's."""
    write_exchange(members, out)
    size = sum(file.stat().st_size for file in out.glob("*.parquet"))
    yield f"runs: {len(members.runs)} in {size / 1e6:.1f} MB of Parquet"
    yield from write_results(read_exchange(out), out)


def write_claims(rows: Sequence[ClaimRow], out: Path) -> None:
    replace_json(out / CLAIMS, [row.row() for row in rows])


def tables(members: Members) -> str:
    """The runs over seeds, and the reward models behind them, as Markdown."""
    return f"# Runs\n\n{runs_table(members)}\n# Reward models\n\n{reward_models_table(members)}"
