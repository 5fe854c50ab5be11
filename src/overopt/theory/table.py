"""The checks as a table, and how many hold."""

from __future__ import annotations

from collections.abc import Sequence

from overopt.text_table import text_table
from overopt.theory.checks import Check

HEADER = ("id", "holds", "residual", "tolerance", "statement")


def checks_table(checks: Sequence[Check]) -> str:
    """A row for each check and a last line; the statement comes last, since it may be long."""
    cells = [(c.id, "yes" if c.holds else "NO", f"{c.residual:.1e}", f"{c.tolerance:g}", c.statement) for c in checks]
    return "\n".join([text_table(HEADER, cells), "", summary(checks)])


def summary(checks: Sequence[Check]) -> str:
    broken = [check.id for check in checks if not check.holds]
    if broken:
        return f"{len(broken)} of {len(checks)} do not hold: {', '.join(broken)}"
    return f"all {len(checks)} hold"
