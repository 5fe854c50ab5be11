"""A claim of the paper: its statement, the test in words, and the rule that tests it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from overopt.replication.claims.logic import Finding, all_of
from overopt.replication.claims.study import Study, Test

Rule = Callable[[Study], Finding]


@dataclass(frozen=True)
class Claim:
    """A claim or a part of one. Without a rule of its own it holds if all parts do that count."""

    id: str
    statement: str
    test: str
    """The precise test, in words."""
    rule: Rule | None = None
    parts: tuple[Claim, ...] = ()
    counts: bool = True
    """Whether a part belongs to the claim's test; else it is reported beside it."""

    def finding(self, study: Study) -> Finding:
        """What the study says; found once."""
        if self.id not in study.found:
            study.found[self.id] = self._of_parts(study) if self.rule is None else self.rule(study)
        return study.found[self.id]

    def _of_parts(self, study: Study) -> Finding:
        counted = [part for part in self.parts if part.counts]
        found = [part.finding(study) for part in counted]
        together = all_of(found)
        deciding = [
            f"{part.id}: {finding.reason}"
            for part, finding in zip(counted, found, strict=True)
            if finding.truth is together.truth
        ]
        return replace(together, reason="; ".join(deciding))

    def rows(self) -> Iterator[Claim]:
        """The claim, then its parts."""
        yield self
        for part in self.parts:
            yield from part.rows()


def single(row: str, test: Test) -> Rule:
    """A rule that the only setting of a row passes a test."""
    return lambda study: test(study.cell(row), study.thresholds)


def every(row: str, test: Test, name: str = "coef") -> Rule:
    """A rule that all values of a setting in a row, 0 among them, pass a test."""
    return lambda study: study.every(row, test, name)
