"""The claims with their verdicts on a terminal and in a pipe, and what to keep in mind when reading them."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

from overopt.replication.claims.check import ClaimRow
from overopt.replication.claims.logic import Truth, distinct
from overopt.statistics import tail, wilson

if TYPE_CHECKING:
    from rich.table import Table

STYLES = {"replicated": "green", "contradicted": "bold red", "inconclusive": "yellow", "not tested": "dim"}
WIDTH = 120
"""Characters of a line in a pipe."""


def print_claims(rows: Sequence[ClaimRow], title: str, stream: TextIO | None = None) -> None:
    """Print a table for each group, each claim with its reason and its parts, then totals and the footer."""
    from rich.console import Console
    from rich.text import Text

    stream = stream or sys.stdout
    console = Console(file=stream, width=None if stream.isatty() else WIDTH, highlight=False, markup=False)
    console.print(
        Text(title, "bold"), *(Text(text) for text in distinct(g for row in rows for g in row.general)), sep="\n"
    )
    for group in dict.fromkeys(row.group for row in rows):
        console.print(Text(f"\n{group}", "bold underline"))
        console.print(_table([row for row in rows if row.group == group]))
    console.print()
    for line in footer(rows):
        console.print(line)


def _table(rows: Sequence[ClaimRow]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    for width in (10, 12, 5):
        table.add_column(no_wrap=True, min_width=width)
    table.add_column(ratio=1)
    for row in rows:
        weight = "" if row.part else "bold"
        said = Text(row.claim.statement, weight)
        if not row.part:
            said.append(f"\n{row.own_reason}", "dim not bold")
        name = Text("  " * row.part + row.claim.id, weight)
        table.add_row(name, Text(row.verdict, STYLES[row.verdict]), Text(seeds(row), "dim"), said)
    return table


def seeds(row: ClaimRow) -> str:
    """On how many single seeds the test comes out true: `4/5`."""
    return "" if row.seeds is None or not row.seeds[1] else f"{row.seeds[0]}/{row.seeds[1]}"


def _chance(seeds: int, tests: int) -> str:
    """How many tests two standard errors decide by chance: a range, as the spread of few seeds is itself uncertain."""
    from scipy.stats import t

    least = 2 * tail(2.0)
    most = 2 * float(t.sf(2.0, seeds - 1)) if seeds > 1 else least
    if most == least:
        return f"{least * tests:.1f}"
    return f"{least * tests:.1f} (seeds alike) to {most * tests:.1f} (only the {seeds} seeds differ)"


def footer(rows: Sequence[ClaimRow]) -> list[str]:
    """How many claims got each verdict, how many tests chance alone decides, and how the rest is to be read."""
    claims = [row for row in rows if not row.part]
    counts = Counter(row.verdict for row in claims)
    total = ", ".join(f"{counts[truth.value]} {truth.value}" for truth in Truth if counts[truth.value])
    tested = [row for row in rows if row.seeds is not None and row.finding.truth is not Truth.UNTESTED]
    leaves = [row for row in tested if not row.claim.parts]
    most = max((row.seeds[1] for row in tested if row.seeds), default=0)
    lines = [
        f"{len(claims)} claims: {total}.",
        f"{len(leaves)} tests stand behind the claims about runs. If nothing were true, about"
        f" {_chance(most, len(leaves))} of them would be decided by chance, at two standard errors either way.",
        "Measured where nothing changes (bench/false_positives.md): GOOD 1.9 to 3.1 % of runs, OVER 1.7 to 3.1 %,"
        " OVER-PEAK 1.5 to 2.8 %; trends aim at 2.5 % each way.",
    ]
    if most > 1:
        low, high = wilson(most, most)
        lines.append(
            f"Seeds: on how many single seeds the same test comes out true. {most} of {most} leaves a 95 % interval of"
            f" {low:.0%} to {high:.0%}. A verdict is that of all seeds together."
        )
    return lines
