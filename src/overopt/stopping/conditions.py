"""Conditions under which a run ends early, judged from what it has recorded so far.

`problems(history)` yields one entry for each update or evaluation, the latest first: a sentence that says what is
wrong there, or None. A condition is met when the latest `patience` entries are all problems. As only records decide, a
finished run can be asked where it would have ended.

Repeated looks make a false alarm likely. Conditions whose evidence is a difference over prompts therefore share one
error budget: together they end a run that has not become worse with a probability of at most 5 %, however often it is
evaluated (`RecordedHistory.allowed`). If `standard_errors` is set, each evaluation is tested against it instead, with
no guarantee for the whole run. The other conditions are limits on measured values.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal, Protocol, Self

from pydantic import Field, model_validator

from overopt.config import Choice, block
from overopt.outcomes import COLLAPSED, OVER_OPTIMIZED, Checkpoint, Label, checkpoints, fall_from_peak, label, paired
from overopt.statistics import Difference, tail
from overopt.stopping.history import RecordedHistory

At = Literal["update", "evaluation"]
Patience = Annotated[int, Field(gt=0)]
Errors = Annotated[float, Field(ge=0)] | None
WAYS_DOWN = 2
"""Ways in which a run may falsely seem to have become worse: against its start, or against its peak."""


class StopConditionProtocol(Protocol):
    """What a condition has. A class of your own may leave out what has a value here."""

    stages: Sequence[str] = ("sft", "reward_model", "online", "offline")
    """The stages whose runs record what it looks at."""
    at: At = "evaluation"
    """Which records `problems` yields one entry for each of: updates or evaluations."""
    patience: int = 1
    """How many of the latest entries must all be problems."""

    @property
    def spends(self) -> bool:
        """Whether it may be met by chance, so that it shares the error budget."""
        return False

    @abstractmethod
    def problems(self, history: RecordedHistory) -> Iterator[str | None]:
        """Yield what is wrong at each update or evaluation, the latest first, or None."""


@block
class LabelSoFar(StopConditionProtocol):
    """The run would get one of these labels if it ended here, and the evidence is within the error budget."""

    config_name = "label"
    spends = True
    stages = ("online", "offline")

    labels: list[Label] = Field(default=[*OVER_OPTIMIZED, COLLAPSED], min_length=1)
    patience: Patience = 2
    """Evaluations in a row."""

    def problems(self, history: RecordedHistory) -> Iterator[str | None]:
        for row in reversed(history.evaluations):
            outcome, allowed = label(history.run, until=row["step"]), history.allowed(row["step"]) / WAYS_DOWN
            beyond = outcome.p is None or outcome.p <= allowed
            said = f"labeled {outcome.label}: {outcome.reason}{_budget_text(outcome.p, allowed)}"
            yield said if outcome.label in self.labels and beyond else None


@block
class WinRate(StopConditionProtocol):
    """The win rate is significantly below that of the first evaluation."""

    stages = ("sft", "online", "offline")

    standard_errors: Errors = None
    """null: test against the error budget; a number: standard errors below the start, at each evaluation."""
    patience: Patience = 2
    """Evaluations in a row."""

    @property
    def spends(self) -> bool:
        return self.standard_errors is None

    def problems(self, history: RecordedHistory) -> Iterator[str | None]:
        for row in reversed(history.evaluations):
            mean, se = row.get("win_difference"), row.get("win_difference_se")
            yield None if mean is None or se is None else self._problem(history, row["step"], Difference(mean, se))

    def _problem(self, history: RecordedHistory, step: int, difference: Difference) -> str | None:
        said = f"win rate {difference.mean:+.2f} (SE {difference.se:.2f}) since the start"
        if self.standard_errors is not None:
            return said if difference.mean < -self.standard_errors * difference.se else None
        p, allowed = tail(-difference.z), history.allowed(step)
        return said + _budget_text(p, allowed) if p <= allowed else None


@block
class KLBudget(StopConditionProtocol):
    """KL to the reference exceeds a budget, in nats per sequence."""

    config_name = "kl"
    stages = ("online", "offline")

    budget: float = Field(gt=0)
    at: At = "evaluation"
    """Evaluations measure the KL on more prompts; of updates, only those of an online run measure it."""
    patience: Patience = 2
    """Evaluations or updates in a row."""

    def problems(self, history: RecordedHistory) -> Iterator[str | None]:
        for row in reversed(history.evaluations if self.at == "evaluation" else history.updates):
            kl = row.get("kl_ref")
            yield f"KL {kl:.3g} above {self.budget:g} nats" if kl is not None and kl > self.budget else None


@block
class ProxyAlone(StopConditionProtocol):
    """Since its best evaluation the truth has fallen significantly while the proxy rose significantly."""

    stages = ("online", "offline")

    truth: Literal["gold", "outcome"] = "gold"
    """gold: the true reward; outcome: wins against the references."""
    standard_errors: Errors = None
    """null: test against the error budget; a number: standard errors of each change, at each evaluation."""
    patience: Patience = 2
    """Evaluations in a row."""

    @property
    def spends(self) -> bool:
        return self.standard_errors is None

    def problems(self, history: RecordedHistory) -> Iterator[str | None]:
        points = [point for point in checkpoints(history.run, history.step) if self._truth(point) and point.proxy]
        for place in reversed(range(len(points))):
            yield self._problem(history, points[: place + 1])

    def _problem(self, history: RecordedHistory, points: Sequence[Checkpoint]) -> str | None:
        """The problem at the last of the points, given those before it."""
        fall, now = fall_from_peak([self._truth(point) for point in points]), points[-1]
        best = points[fall.place]
        if not now.proxy.keys() & best.proxy.keys():
            return None
        proxy = paired(now.proxy, best.proxy)
        said = f"{self.truth} {-fall.drop.mean:+.2f} but proxy {proxy.mean:+.2f} since step {best.step}"
        if self.standard_errors is not None:
            drop, least = fall.drop, self.standard_errors
            return said if drop.mean > least * drop.se and proxy.mean > least * proxy.se else None
        p, allowed = max(fall.p, tail(proxy.z)), history.allowed(now.step)
        return said + _budget_text(p, allowed) if p <= allowed else None

    def _truth(self, point: Checkpoint) -> dict[str, float]:
        return point.gold if self.truth == "gold" else point.outcome


@block
class Entropy(StopConditionProtocol):
    """The entropy of the next-token distribution is out of bounds, in nats per token."""

    stages = ("online",)
    at = "update"

    low: float | None = None
    high: float | None = None
    patience: Patience = 5
    """Updates in a row."""

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.low is None and self.high is None:
            raise ValueError("entropy needs low or high, or both")
        return self

    def problems(self, history: RecordedHistory) -> Iterator[str | None]:
        for row in reversed(history.updates):
            entropy = row.get("entropy_tok")
            yield None if entropy is None else self._problem(entropy)

    def _problem(self, entropy: float) -> str | None:
        if self.low is not None and entropy < self.low:
            return f"entropy {entropy:.3g} below {self.low:g} nats per token"
        if self.high is not None and entropy > self.high:
            return f"entropy {entropy:.3g} above {self.high:g} nats per token"
        return None


@block
class NotFinite(StopConditionProtocol):
    """A metric is NaN or infinite. A run whose loss or gradient is not finite has diverged already."""

    config_name = "nan"
    at = "update"

    patience: Patience = 1
    """Updates in a row."""

    def problems(self, history: RecordedHistory) -> Iterator[str | None]:
        for row in reversed(history.updates):
            names = row.get("nonfinite")
            yield f"not finite: {', '.join(names)}" if names else None


@block
class WallTime(StopConditionProtocol):
    """The run has used up its wall-clock time, including the time before interruptions."""

    at = "update"

    hours: float = Field(gt=0)
    patience: Patience = 1
    """Updates in a row."""

    def problems(self, history: RecordedHistory) -> Iterator[str | None]:
        for row in reversed(history.timings):
            hours = row["elapsed"] / 3600
            yield f"{hours:.3g} of {self.hours:g} hours spent" if hours > self.hours else None


StopCondition = Annotated[
    LabelSoFar | WinRate | KLBudget | ProxyAlone | Entropy | NotFinite | WallTime,
    Choice(StopConditionProtocol),
]


def _budget_text(p: float | None, allowed: float) -> str:
    return "" if p is None else f" (p {p:.1g}, of {allowed:.1g} allowed at this evaluation)"
