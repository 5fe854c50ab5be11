"""What every question ends in: a decision, a paragraph, a figure and its numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from overopt.statistics import seeds_interval

UNDECIDED = "not decided"
NOT_TESTED = "not tested"


@dataclass(frozen=True)
class Answer:
    """The answer to one question."""

    name: str
    """Names the files: `algorithm`, `equal-kl`."""
    question: str
    decision: str
    """What the decision rule of docs/questions.md says, in few words; `not tested` without the runs it takes."""
    paragraph: str
    chart: Any = None
    """The figure, as Altair has it; None without numbers."""
    table: Sequence[Mapping[str, Any]] = field(default_factory=list)
    """The numbers of the figure."""


class Estimate(NamedTuple):
    """A mean over seeds with its 95 % interval by Student's t; NaN bounds with one seed."""

    mean: float
    low: float
    high: float
    seeds: int

    @property
    def sign(self) -> int:
        """1 if the interval lies above 0, -1 if below, else 0; 0 with one seed."""
        return 1 if self.low > 0 else -1 if self.high < 0 else 0

    def text(self, form: str = "+.2f") -> str:
        """`-0.45 [-0.60, -0.30]`; with one seed `-0.45 (one seed)`."""
        if math.isnan(self.low):
            return f"{self.mean:{form}} (one seed)"
        return f"{self.mean:{form}} [{self.low:{form}}, {self.high:{form}}]"

    def row(self) -> dict[str, float]:
        """As columns of a table; bounds that do not exist are left out."""
        bounds = {} if math.isnan(self.low) else {"low": self.low, "high": self.high}
        return {"mean": self.mean, **bounds, "seeds": self.seeds}


def over_seeds(values: Sequence[float]) -> Estimate:
    """The mean of one value a seed, at least one, and its interval."""
    interval = seeds_interval(values)
    return Estimate(sum(values) / len(values), float(interval.low), float(interval.high), len(values))


def not_tested(name: str, question: str, missing: str) -> Answer:
    """The answer where runs are missing."""
    return Answer(name, question, NOT_TESTED, f"Not tested: {missing}.")


def listed(words: Sequence[str]) -> str:
    """`a, b and c`; `none` for no words."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words) if words else "none"
