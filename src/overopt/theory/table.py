"""The checks as a text table with a summary line."""

from __future__ import annotations

from collections.abc import Sequence

from overopt.theory.checks import Check

HEADER = ("id", "holds", "residual", "tolerance", "statement")


def text_table(checks: Sequence[Check]) -> str:
    """Return aligned plain text; the statement comes last, since it may be long."""
    cells = [HEADER, *(_cells(check) for check in checks)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADER) - 1)]
    lines = ["  ".join([*map(str.ljust, line, widths), line[-1]]) for line in cells]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:], "", summary(checks)])


def summary(checks: Sequence[Check]) -> str:
    broken = [check.id for check in checks if not check.holds]
    if broken:
        return f"{len(broken)} of {len(checks)} do not hold: {', '.join(broken)}"
    return f"all {len(checks)} hold"


def _cells(check: Check) -> tuple[str, ...]:
    return check.id, "yes" if check.holds else "NO", f"{check.residual:.1e}", f"{check.tolerance:g}", check.statement
