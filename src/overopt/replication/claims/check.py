"""All claims checked against a study: a row for each claim and each part of one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from overopt.replication.claims.claim import Claim
from overopt.replication.claims.entropy import ENTROPY
from overopt.replication.claims.kl import KL
from overopt.replication.claims.logic import Finding, Truth, distinct
from overopt.replication.claims.offline import OFFLINE
from overopt.replication.claims.online import ONLINE
from overopt.replication.claims.study import Study
from overopt.replication.claims.theory import THEORY
from overopt.replication.claims.thresholds import Thresholds
from overopt.replication.members import Members
from overopt.statistics import wilson


def _with_limits(reason: str, limits: Sequence[str]) -> str:
    return f"{reason} [{'; '.join(distinct(limits))}]" if limits else reason


def _number(claim: Claim) -> int:
    return int(claim.id[1:])


GROUPS: dict[str, tuple[Claim, ...]] = {
    "Theory": THEORY,
    "Online": tuple(sorted((*ONLINE, *ENTROPY, *KL), key=_number)),
    "Offline": OFFLINE,
}
"""The paper's claims C1 to C44 in their order."""


@dataclass(frozen=True)
class ClaimRow:
    """A claim, or a part of one, with its verdict."""

    claim: Claim
    group: str
    finding: Finding
    seeds: tuple[int, int] | None = None
    """On how many single seeds the same test comes out true, and on how many it could be made; None for theory."""
    general: tuple[str, ...] = ()
    """What limits every claim about runs."""

    @property
    def verdict(self) -> str:
        return self.finding.truth.value

    @property
    def part(self) -> bool:
        return "." in self.claim.id

    @property
    def own_reason(self) -> str:
        """Why, with what limits this finding."""
        return _with_limits(self.finding.reason, self.finding.qualifiers)

    @property
    def reason(self) -> str:
        """Why, with everything that limits the finding."""
        return _with_limits(self.finding.reason, (*self.finding.qualifiers, *self.general))

    def row(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            "id": self.claim.id,
            "statement": self.claim.statement,
            "verdict": self.verdict,
            "reason": self.reason,
            "numbers": [number.row() for number in self.finding.numbers],
            "runs": list(self.finding.runs),
            "seeds": None if self.seeds is None else share(*self.seeds),
        }


def check(members: Members, thresholds: Thresholds | None = None) -> list[ClaimRow]:
    """Test every claim on a study, and again on each of its seeds alone."""
    thresholds = thresholds or Thresholds()
    whole = Study(members, thresholds)
    alone = [Study(members.of_seed(seed), thresholds) for seed in members.seeds] if len(members.seeds) > 1 else [whole]
    return [row for group, claims in GROUPS.items() for claim in claims for row in rows_of(claim, group, whole, alone)]


def rows_of(claim: Claim, group: str, whole: Study, alone: list[Study]) -> Iterator[ClaimRow]:
    """The rows of one claim: its own, then those of its parts."""
    for one in claim.rows():
        finding = one.finding(whole)
        if group == "Theory":
            yield ClaimRow(one, group, finding)
            continue
        truths = [one.finding(study).truth for study in alone]
        tested = [truth for truth in truths if truth is not Truth.UNTESTED]
        yield ClaimRow(one, group, finding, (tested.count(Truth.YES), len(tested)), whole.qualifiers)


def share(held: int, tested: int) -> dict[str, Any]:
    """The share of seeds as a JSON object, with its Wilson interval where a seed could be tested."""
    if not tested:
        return {"held": 0, "tested": 0}
    low, high = wilson(held, tested)
    return {"held": held, "tested": tested, "low": round(low, 3), "high": round(high, 3)}
