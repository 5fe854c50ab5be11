"""Labels by several judges: who they are, and where they disagree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from overopt.analysis.run_summary import Judged, RunSummary
from overopt.analysis.text import escape_controls

NAMED = 8
"""Most runs that a sentence names."""
ROLES = ("gold", "reward_model")
"""Judges that every run has one of its own of: what stands behind the name may differ between runs."""


def told_apart(rows: Sequence[RunSummary]) -> list[RunSummary]:
    """The rows with a name for each judge: a hash follows it where model, prompt or rules differ between the runs."""
    hashes: dict[str, set[str]] = {}
    for row in rows:
        judged: list[RunSummary | Judged] = [row, *row.others]
        for one in judged:
            if one.judge is not None and one.judge_hash is not None and one.judge not in ROLES:
                hashes.setdefault(one.judge, set()).add(one.judge_hash)
    several = {judge for judge, found in hashes.items() if len(found) > 1}

    def name(one: RunSummary | Judged) -> str | None:
        return f"{one.judge} ({(one.judge_hash or '?')[:6]})" if one.judge in several else one.judge

    return [
        replace(row, judge=name(row), others=tuple(replace(other, judge=name(other)) for other in row.others))
        for row in rows
    ]


def judges_in(rows: Sequence[RunSummary]) -> list[str]:
    """The judges of some runs in the order of the table: those whose labels come first, then the others."""
    first = [row.judge for row in rows]
    others = [other.judge for row in rows for other in row.others]
    return [judge for judge in dict.fromkeys([*first, *others]) if judge is not None]


def disagreements(rows: Sequence[RunSummary], named: int = NAMED) -> list[str]:
    """A sentence for each judge after the first: on which runs its label is another than that of the first."""
    first, *others = judges_in(rows) or [""]
    return [sentence for other in others if (sentence := _disagreement(rows, first, other, named))]


def _disagreement(rows: Sequence[RunSummary], first: str, other: str, named: int) -> str:
    labels = {row.run: (_label(row, first), _label(row, other)) for row in rows}
    both = {run: pair for run, pair in labels.items() if None not in pair}
    apart = [f"{run} ({ours} against {theirs})" for run, (ours, theirs) in both.items() if ours != theirs]
    lacking = [run for run, (ours, theirs) in labels.items() if ours is not None and theirs is None]
    judges = escape_controls(f"{first} and {other}")
    if not both:
        return f"{judges} have labeled no run together." if lacking else ""
    of = f"{len(both)} run{'s' * (len(both) != 1)}"
    said = f"{judges} disagree on {len(apart)} of {of}: {_listed(apart, named)}" if apart else f"{judges} agree on {of}"
    return said + (f"; no label by {escape_controls(other)}: {_listed(lacking, named)}." if lacking else ".")


def _label(row: RunSummary, judge: str) -> str | None:
    found = row.by(judge)
    return None if found is None else found.label


def _listed(names: Sequence[str], most: int) -> str:
    left = len(names) - most
    return ", ".join(names[:most]) + (f" and {left} more" if left > 0 else "")
