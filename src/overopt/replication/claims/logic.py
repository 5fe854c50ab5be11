"""What was found about a claim or a part of it, and how findings combine: logic with unclear and missing pieces."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

SHOWN = 2
"""How many findings a reason quotes."""


class Truth(Enum):
    """Each with the verdict that it means for a claim."""

    NO = "contradicted"
    """The opposite is significant."""
    UNCLEAR = "inconclusive"
    """False or true only within noise."""
    YES = "replicated"
    UNTESTED = "not tested"
    """A piece is missing."""


WEAKEST_FIRST = (Truth.NO, Truth.UNCLEAR, Truth.YES)


@dataclass(frozen=True)
class Number:
    """A number behind a verdict."""

    what: str
    value: float
    se: float | None = None
    threshold: float | None = None
    margin: float | None = None
    """How far the value lies beyond the threshold: negative where the threshold is missed."""

    def row(self) -> dict[str, Any]:
        """As a JSON object: what is unknown is left out, and what is not finite is null."""
        numbers = {"value": self.value, "se": self.se, "threshold": self.threshold, "margin": self.margin}
        known = {name: value for name, value in numbers.items() if value is not None}
        return {"what": self.what} | {name: v if math.isfinite(v) else None for name, v in known.items()}


@dataclass(frozen=True)
class Finding:
    truth: Truth
    reason: str
    numbers: tuple[Number, ...] = ()
    runs: tuple[str, ...] = ()
    qualifiers: tuple[str, ...] = ()
    """What limits the finding, such as a closed gate of some seeds."""
    brief: str = ""
    """The same in a word or two, for a finding about many runs: `OVER`."""

    def but(self, *qualifiers: str) -> Finding:
        """The same with more qualifiers."""
        return replace(self, qualifiers=(*self.qualifiers, *qualifiers))


def untested(reason: str) -> Finding:
    return Finding(Truth.UNTESTED, reason)


def yes_no(yes: bool, no: bool) -> Truth:
    """YES, NO where the opposite holds, else UNCLEAR."""
    return Truth.YES if yes else Truth.NO if no else Truth.UNCLEAR


def all_of(findings: Iterable[Finding]) -> Finding:
    """The weakest of several, all of which are needed: a missing one leaves the whole untested."""
    found = tuple(findings)
    return _of(found, _weakest(found))


def any_of(findings: Iterable[Finding]) -> Finding:
    """The strongest of several alternatives. All of them must have been tested: which one holds is part of a claim."""
    found = tuple(findings)
    truths = {finding.truth for finding in found}
    missing = not found or Truth.UNTESTED in truths
    return _of(found, Truth.UNTESTED if missing else max(truths, key=WEAKEST_FIRST.index))


def at_least(share: float, findings: Iterable[Finding]) -> Finding:
    """Whether so large a share of several hold: NO if they would not even if all that are unclear did."""
    found = tuple(findings)
    truths = [finding.truth for finding in found]
    if not found or Truth.UNTESTED in truths:
        return _of(found, Truth.UNTESTED)
    held, unclear = truths.count(Truth.YES), truths.count(Truth.UNCLEAR)
    needed = share * len(found) - 1e-9
    count = Number(f"share of {len(found)} that hold", held / len(found), None, share, held / len(found) - share)
    merged = _of(found, yes_no(held >= needed, held + unclear < needed))
    return replace(merged, numbers=(count, *merged.numbers))


def negated(finding: Finding) -> Finding:
    opposite = {Truth.YES: Truth.NO, Truth.NO: Truth.YES}
    return replace(finding, truth=opposite.get(finding.truth, finding.truth))


def distinct(items: Iterable[str]) -> tuple[str, ...]:
    """Without repetitions, in their order."""
    return tuple(dict.fromkeys(items))


def quoted(reasons: Sequence[str]) -> str:
    """The first few reasons, and how many more there are."""
    shown = distinct(reasons)
    more = f"; and {len(shown) - SHOWN} more" if len(shown) > SHOWN else ""
    return "; ".join(shown[:SHOWN]) + more


def _weakest(findings: Sequence[Finding]) -> Truth:
    truths = {finding.truth for finding in findings}
    return Truth.UNTESTED if not findings or Truth.UNTESTED in truths else min(truths, key=WEAKEST_FIRST.index)


def _of(findings: Sequence[Finding], truth: Truth) -> Finding:
    """Findings as one: those that decide give the reason."""
    if len(findings) == 1:
        return replace(findings[0], truth=truth)
    return Finding(
        truth,
        _reason(findings, truth),
        tuple(number for finding in findings for number in finding.numbers),
        distinct(run for finding in findings for run in finding.runs),
        distinct(qualifier for finding in findings for qualifier in finding.qualifiers),
        " and ".join(distinct(finding.brief for finding in findings if finding.brief)),
    )


def _reason(findings: Sequence[Finding], truth: Truth) -> str:
    """All reasons of two; of more those that decide, or in a word what holds."""
    if not findings:
        return "there are no such runs"
    deciding = [finding for finding in findings if finding.truth is truth]
    if truth is Truth.UNTESTED or len(findings) == 2:
        return quoted([finding.reason for finding in (deciding if truth is Truth.UNTESTED else findings)])
    held = sum(finding.truth is Truth.YES for finding in findings)
    count = f"all {len(findings)}" if held == len(findings) else f"{held} of {len(findings)}"
    briefs = distinct(finding.brief for finding in deciding)
    if truth is Truth.YES and all(briefs):
        return f"{count}: {' or '.join(briefs)}"
    return f"{count} hold: {quoted([finding.reason for finding in deciding])}"
