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
from overopt.replication.tables import claims_table, reward_models_table, runs_table

PAPER = "maxent-failure-modes"
"""The study that has the paper's claims and figures."""
DEFAULT = Thresholds()
CLAIMS, TABLES = "claims.json", "tables.md"


def write_results(members: Members, out: Path, thresholds: Thresholds = DEFAULT) -> Iterator[str]:
    """Write figures, claims and answers of a study into its folder; yields a line about each."""
    rows = check(members, thresholds) if members.study == PAPER else []
    replace_file(out / TABLES, tables(members, rows).encode())
    yield f"tables: {out / TABLES}"
    if rows:
        yield f"figures: {write_figures(members, out)[0]}"
        replace_json(out / CLAIMS, [row.row() for row in rows])
        counts = Counter(row.verdict for row in rows if not row.part)
        verdicts = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
        yield f"claims: {verdicts}; overopt claims {out}"
    if answers := write_answer(members, out):
        yield f"answers: {next(file for file in answers if file.suffix == '.html')}"


def export(members: Members, out: Path, thresholds: Thresholds = DEFAULT) -> Iterator[str]:
    """Write a study as Parquet and, from that, its results; `overopt claims` reads the folder as it reads a study's."""
    write_exchange(members, out)
    size = sum(file.stat().st_size for file in out.glob("*.parquet"))
    yield f"runs: {len(members.runs)} in {size / 1e6:.1f} MB of Parquet"
    yield from write_results(read_exchange(out), out, thresholds)


def tables(members: Members, rows: Sequence[ClaimRow]) -> str:
    """The claims, the runs over seeds, and the reward models behind them, as Markdown."""
    parts = {
        "Claims": claims_table([row.row() for row in rows]) if rows else "",
        "Runs": runs_table(members),
        "Reward models": reward_models_table(members),
    }
    title = f"# Tables: {members.study}, {members.scale}, seeds {', '.join(map(str, members.seeds))}\n"
    return title + "".join(f"\n## {name}\n\n{part}" for name, part in parts.items() if part)
