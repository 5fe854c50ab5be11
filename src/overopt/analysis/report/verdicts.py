"""What happened, in one sentence for each group of runs, with its numbers."""

from __future__ import annotations

from collections.abc import Sequence

from overopt.analysis.report.collect import Group, Record
from overopt.analysis.table import verdict
from overopt.outcomes import OVER_OPTIMIZED

NAMED = 4
"""Runs that are called by name; of more, only these many."""


def sentence(group: Group) -> str:
    """The group's verdict."""
    records = group.records
    if len(records) == 1:
        return f"{records[0].name}: {verdict(records[0].row)}"
    judged = [record for record in records if record.row.label is not None]
    over = [record for record in judged if record.row.label in OVER_OPTIMIZED]
    broken = [record for record in judged if record.row.label == "COLLAPSE"]
    good = [record for record in judged if record.row.label == "GOOD"]
    rest = [record for record in judged if record not in (*over, *broken, *good)]
    parts = [
        _over(over),
        f"{_names(broken)} broke down to a win rate of {_rates(broken)}" if broken else "",
        _good(good),
        f"{_names(rest)} changed nothing clearly ({_rates(rest)})" if rest else "",
        f"{_names(unjudged)} {_be(unjudged)} not judged" if (unjudged := [r for r in records if r not in judged]) else "",
    ]
    starts = {round(record.row.sft_win_rate, 3) for record in judged if record.row.sft_win_rate is not None}
    start = f", starting from SFT's {min(starts):.0%}" if len(starts) == 1 else ""
    said = "; ".join(part for part in parts if part)
    return f"Of {len(records)} runs{start}, {len(over)} over-optimized: {said}."


def _over(records: Sequence[Record]) -> str:
    if not records:
        return "none"
    changes = [
        row.proxy_end - row.proxy_start
        for record in records
        if (row := record.row).proxy_end is not None and row.proxy_start is not None
    ]
    rise = f"the proxy rose by {_range(changes, '{:+.2f}')} while " if changes else ""
    return f"{_names(records)} ({rise}the win rate ended at {_rates(records)})"


def _good(records: Sequence[Record]) -> str:
    if not records:
        return ""
    best = max(records, key=lambda record: record.row.win_rate or 0.0)
    row = best.row
    interval = (
        f" [{row.win_rate_low:.0%}, {row.win_rate_high:.0%}]"
        if row.win_rate_low is not None and row.win_rate_high is not None
        else ""
    )
    return f"{_names(records)} improved on SFT, the best, {best.name}, to {_percent(row.win_rate)}{interval}"


def _names(records: Sequence[Record]) -> str:
    names = [record.name for record in records]
    if len(names) > NAMED:
        return f"{len(names)} runs ({', '.join(names[:NAMED])} and {len(names) - NAMED} more)"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _be(records: Sequence[Record]) -> str:
    return "was" if len(records) == 1 else "were"


def _rates(records: Sequence[Record]) -> str:
    return _range([record.row.win_rate for record in records if record.row.win_rate is not None], "{:.0%}")


def _range(values: Sequence[float], form: str) -> str:
    low, high = (form.format(bound) for bound in (min(values), max(values))) if values else ("?", "?")
    return low if low == high else f"{low} to {high}"


def _percent(value: float | None) -> str:
    return "?" if value is None else f"{value:.0%}"
