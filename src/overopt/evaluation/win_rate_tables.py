"""Win rates of several runs on a terminal: one table for each set of prompts, all by the same judge."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from overopt.evaluation.win_rates import Row
from overopt.text_table import text_table

SAME = ("judge", "judge_hash", "prompt_set", "split", "against")
"""What the rows of one table share."""


def tables(runs: Mapping[Path, Sequence[Row]]) -> str:
    """Return the rows of runs as tables: those of other prompts, another judge or another side stand apart."""
    groups: dict[tuple[object, ...], list[tuple[str, Row]]] = {}
    for name, rows in zip(_names(list(runs)), runs.values(), strict=True):
        for row in rows:
            groups.setdefault(tuple(row.get(key) for key in SAME), []).append((name, row))
    return "\n\n".join(_table(group) for group in groups.values())


def _table(rows: Sequence[tuple[str, Row]]) -> str:
    first = rows[0][1]
    title = f"judge {first['judge']} (hash {first['judge_hash']}), against {first['against']}"
    title += f", {first['split']} prompts (set {first['prompt_set']})"
    shown = {head: [cell(row) for _, row in rows] for head, cell in COLUMNS.items()}
    if not any(row.get("invalid") for _, row in rows):
        del shown["invalid"], shown["as losses"]
    if len(set(shown["limit"])) == 1:
        del shown["limit"]
    shown = {head: cells for head, cells in shown.items() if any(cells)}
    body = [[name, *cells] for (name, _), *cells in zip(rows, *shown.values(), strict=True)]
    return title + "\n" + text_table(["run", *shown], body, right=tuple(shown))


def _names(paths: Sequence[Path]) -> list[str]:
    """The runs' names; with their paths where names are equal."""
    names = [path.resolve().name for path in paths]
    return [str(path) if names.count(name) > 1 else name for path, name in zip(paths, names, strict=True)]


def _number(name: str, form: str) -> Callable[[Row], str]:
    return lambda row: "" if row.get(name) is None else format(row[name], form)


def _interval(row: Row) -> str:
    return f"{row['win_rate_low']:.3f} to {row['win_rate_high']:.3f}" if "win_rate_low" in row else ""


def _difference(row: Row) -> str:
    return f"{row['win_difference']:+.3f} ({row['win_difference_se']:.3f})" if "win_difference" in row else ""


COLUMNS: dict[str, Callable[[Row], str]] = {
    "step": _number("step", "d"),
    "limit": _number("max_completion_tokens", "d"),
    "n": _number("n", "d"),
    "win rate": _number("win_rate", ".3f"),
    "95 %": _interval,
    "difference (SE)": _difference,
    "invalid": _number("invalid", "d"),
    "as losses": _number("win_rate_invalid_as_loss", ".3f"),
    "short": _number("win_rate_short", ".3f"),
    "middle": _number("win_rate_middle", ".3f"),
    "long": _number("win_rate_long", ".3f"),
    "equal length": _number("win_rate_length_controlled", ".3f"),
    "prefers first": _number("first_position_rate", ".3f"),
    "consistent": _number("order_consistency", ".3f"),
    "judges differ": _number("judges_disagree", ".3f"),
    "tokens": _number("len_mean", ".1f"),
    "proxy": _number("proxy_mean", ".3g"),
    "gold": _number("gold_mean", ".3g"),
    "KL": _number("kl_ref", ".3g"),
}
"""The columns of a table, and what they show of a row; nothing where a row has no such number."""
