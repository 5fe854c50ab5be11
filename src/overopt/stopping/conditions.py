"""When a run should end early: conditions on what it has recorded so far, each with its patience.

A condition lists what is wrong at each update or evaluation, the latest first, and is met once something is wrong at
`patience` of them in a row. Nothing but the records decides, so a finished run can be asked where it would have ended.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from overopt.config import Choice, block
from overopt.outcomes import COLLAPSED, OVER_OPTIMIZED, Checkpoint, Label, checkpoints, label, paired
from overopt.stopping.past import Past

At = Literal["update", "evaluation"]
Patience = Annotated[int, Field(gt=0)]
Errors = Annotated[float, Field(ge=0)]


@block
class LabelSoFar:
    """The label that the run would get if it ended here."""

    config_name: ClassVar[str] = "label"
    stages: ClassVar[tuple[str, ...]] = ("online", "offline")
    at: ClassVar[At] = "evaluation"

    labels: list[Label] = Field(default=[*OVER_OPTIMIZED, COLLAPSED], min_length=1)
    patience: Patience = 2
    """Evaluations in a row."""

    def problems(self, past: Past) -> Iterator[str | None]:
        for row in reversed(past.evaluations):
            outcome = label(past.run, until=row["step"])
            yield f"labeled {outcome.label}: {outcome.reason}" if outcome.label in self.labels else None


@block
class WinRate:
    """The win rate lies below that of the first evaluation by more than so many standard errors."""

    stages: ClassVar[tuple[str, ...]] = ("sft", "online", "offline")
    at: ClassVar[At] = "evaluation"

    standard_errors: Errors = 2.0
    patience: Patience = 2
    """Evaluations in a row."""

    def problems(self, past: Past) -> Iterator[str | None]:
        for row in reversed(past.evaluations):
            difference, error = row.get("win_difference"), row.get("win_difference_se")
            below = difference is not None and error is not None and difference < -self.standard_errors * error
            yield f"win rate {difference:+.2f} (SE {error:.2f}) since the start" if below else None


@block
class KLBudget:
    """KL to the reference is above a budget, nats per sequence."""

    config_name: ClassVar[str] = "kl"
    stages: ClassVar[tuple[str, ...]] = ("online", "offline")

    budget: float = Field(gt=0)
    at: At = "evaluation"
    """Evaluations measure it on more prompts; only an online run's updates do at all."""
    patience: Patience = 2
    """Evaluations or updates in a row."""

    def problems(self, past: Past) -> Iterator[str | None]:
        for row in reversed(past.evaluations if self.at == "evaluation" else past.updates):
            kl = row.get("kl_ref")
            yield f"KL {kl:.3g} above {self.budget:g} nats" if kl is not None and kl > self.budget else None


@block
class ProxyAlone:
    """Since the evaluation where the truth was best it has fallen while the proxy rose, both significantly."""

    stages: ClassVar[tuple[str, ...]] = ("online", "offline")
    at: ClassVar[At] = "evaluation"

    truth: Literal["gold", "outcome"] = "gold"
    """gold: the true reward; outcome: wins against the references."""
    standard_errors: Errors = 2.0
    patience: Patience = 2
    """Evaluations in a row."""

    def problems(self, past: Past) -> Iterator[str | None]:
        points = [point for point in checkpoints(past.run, past.step) if self._truth(point) and point.proxy]
        for place in reversed(range(len(points))):
            best = max(points[: place + 1], key=lambda point: _mean(self._truth(point)))
            yield self._problem(points[place], best)

    def _problem(self, now: Checkpoint, best: Checkpoint) -> str | None:
        if now is best:
            return None
        truth, proxy = paired(self._truth(now), self._truth(best)), paired(now.proxy, best.proxy)
        if truth.mean < -self.standard_errors * truth.se and proxy.mean > self.standard_errors * proxy.se:
            return f"{self.truth} {truth.mean:+.2f} but proxy {proxy.mean:+.2f} since step {best.step}"
        return None

    def _truth(self, point: Checkpoint) -> dict[str, float]:
        return point.gold if self.truth == "gold" else point.outcome


@block
class Entropy:
    """The entropy of a token's distribution is outside bounds, nats per token."""

    stages: ClassVar[tuple[str, ...]] = ("online",)
    at: ClassVar[At] = "update"

    low: float | None = None
    high: float | None = None
    patience: Patience = 5
    """Updates in a row."""

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.low is None and self.high is None:
            raise ValueError("entropy needs low or high, or both")
        return self

    def problems(self, past: Past) -> Iterator[str | None]:
        for row in reversed(past.updates):
            entropy = row.get("entropy_tok")
            yield None if entropy is None else self._problem(entropy)

    def _problem(self, entropy: float) -> str | None:
        if self.low is not None and entropy < self.low:
            return f"entropy {entropy:.3g} below {self.low:g} nats per token"
        if self.high is not None and entropy > self.high:
            return f"entropy {entropy:.3g} above {self.high:g} nats per token"
        return None


@block
class NotFinite:
    """A metric is NaN or infinite. Where it is the loss or its gradient, the run has diverged already."""

    config_name: ClassVar[str] = "nan"
    at: ClassVar[At] = "update"

    patience: Patience = 1
    """Updates in a row."""

    def problems(self, past: Past) -> Iterator[str | None]:
        for row in reversed(past.updates):
            names = row.get("nonfinite")
            yield f"not finite: {', '.join(names)}" if names else None


@block
class WallTime:
    """The run has taken its time; what was spent before an interruption counts."""

    at: ClassVar[At] = "update"

    hours: float = Field(gt=0)
    patience: Patience = 1
    """Updates in a row."""

    def problems(self, past: Past) -> Iterator[str | None]:
        for row in reversed(past.timings):
            hours = row["elapsed"] / 3600
            yield f"{hours:.3g} of {self.hours:g} hours spent" if hours > self.hours else None


StopCondition = Annotated[
    LabelSoFar | WinRate | KLBudget | ProxyAlone | Entropy | NotFinite | WallTime,
    Choice(),
]


def _mean(values: dict[str, float]) -> float:
    return sum(values.values()) / len(values)
