"""Controllers: coefficients that change during a run. A plain number in the configuration is a constant coefficient.

A controller is called with the rollouts of each update, before the update is made, and returns the coefficient for it
(`contracts.ControllerProtocol`).
"""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from overopt.config import Choice, Positive, block
from overopt.objectives.contracts import ControllerProtocol
from overopt.objectives.state import State, call
from overopt.types import Rollouts

Share = Annotated[float, Field(gt=0, le=1)]
MAX_LOG_STEP = 1.0
"""A target-entropy controller multiplies or divides its coefficient by at most e per update."""


@block
class Fixed(ControllerProtocol):
    """A constant coefficient: `coef: {name: fixed, value: 0.05}` is `coef: 0.05`."""

    formula = "coef_t = value"
    source = "N+ recipe (Huang et al. 2024): KL coefficient 0.05"

    value: float = 0.05

    def __call__(self, rollouts: Rollouts) -> float:
        return self.value

    @property
    def lowest(self) -> float:
        return self.value


@block
class AdaptiveKL(ControllerProtocol):
    """Ziegler's adaptive KL controller: proportional control in log-space, which steers KL(pi || ref) to a target.

    KL is the batch mean of the k1 estimate (nats per sequence), B the episodes of the batch. The coefficient of
    a batch does not depend on that batch: a change takes effect at the next. Needs the reference.
    """

    needs = frozenset({"reference"})
    formula = "e = clip((KL - target) / target, -0.2, 0.2);  coef <- coef (1 + e B / horizon)"
    source = "Ziegler et al. 2019 (arXiv 1909.08593), section 2.2; defaults: their code"

    initial: Positive = 0.2
    target: Positive = 6.0
    horizon: Positive = 10_000.0

    def init(self) -> State:
        return {"coef": self.initial}

    def __call__(self, rollouts: Rollouts, state: State) -> tuple[float, State]:  # type: ignore[override]
        coef = float(state["coef"])
        kl_B = rollouts.sequence_kl_B
        error = min(0.2, max(-0.2, float(kl_B.mean()) / self.target - 1.0))
        factor = max(0.0, 1.0 + error * len(kl_B) / self.horizon)  # a batch beyond 5 horizons must not flip the sign
        return coef, {"coef": coef * factor}


@block
class Linear(ControllerProtocol):
    """A linear change from `initial` to `final`, complete after the fraction `until` of the run's updates."""

    formula = "coef_t = initial + (final - initial) min(1, t / (until steps)), t = updates made before"
    source = "our choice; a schedule as those of learning rates"

    initial: float = 0.1
    final: float = 0.0
    until: Share = 1.0

    def __call__(self, rollouts: Rollouts) -> float:
        return self.initial + (self.final - self.initial) * min(1.0, rollouts.progress / self.until)

    @property
    def lowest(self) -> float:
        return min(self.initial, self.final)


@block
class Cosine(ControllerProtocol):
    """A half-cosine change from `initial` to `final`, complete after the fraction `until` of the run's updates."""

    formula = (
        "coef_t = final + (initial - final) (1 + cos(pi s)) / 2, s = min(1, t / (until steps)), t = updates made before"
    )
    source = "our choice; a schedule as those of learning rates"

    initial: float = 0.1
    final: float = 0.0
    until: Share = 1.0

    def __call__(self, rollouts: Rollouts) -> float:
        share = min(1.0, rollouts.progress / self.until)
        return self.final + (self.initial - self.final) * 0.5 * (1.0 + math.cos(math.pi * share))

    @property
    def lowest(self) -> float:
        return min(self.initial, self.final)


@block
class TargetEntropy(ControllerProtocol):
    """Automatic temperature: the coefficient of an entropy bonus rises while entropy is below its target.

    H is the exact entropy of a token's distribution at the sampling temperature, a mean over the batch's tokens (nats).
    It is soft actor-critic's gradient step on log alpha, measured on one batch and applied at the next; one update
    changes the coefficient at most by the factor e, and keeps it within [minimum, maximum]. It is for bonuses that
    raise entropy when the coefficient is positive. No default target (nats per token) suits every model.

    TRL's adaptive entropy coefficient is another rule: it adds or subtracts a constant, and pays no bonus while entropy
    is above the target.
    """

    formula = "coef <- clip(coef exp(clip(rate (target - H), -1, 1)), minimum, maximum)"
    source = "Haarnoja et al. 2018 (arXiv 1812.05905), section 5; rate and bounds: our choice"

    target: Positive = 1.0
    initial: Positive = 0.01
    rate: Positive = 0.1
    minimum: Positive = 1e-6
    maximum: Positive = 10.0

    def init(self) -> State:
        return {"coef": min(self.maximum, max(self.minimum, self.initial))}

    def __call__(self, rollouts: Rollouts, state: State) -> tuple[float, State]:  # type: ignore[override]
        coef = float(state["coef"])
        log_step = self.rate * (self.target - rollouts.token_entropy)
        moved = coef * math.exp(min(MAX_LOG_STEP, max(-MAX_LOG_STEP, log_step)))
        return coef, {"coef": min(self.maximum, max(self.minimum, moved))}

    @property
    def lowest(self) -> float:
        return self.minimum


Controller = Fixed | AdaptiveKL | Linear | Cosine | TargetEntropy


def _not_negative(coef: Any) -> Any:
    """A negative coefficient of a divergence would reward distance from the reference without bound."""
    lowest = coef if isinstance(coef, int | float) else coef.lowest
    if lowest < 0:
        raise ValueError(f"must be >= 0, got {lowest}")
    return coef


Coefficient = Annotated[float | Controller, Choice(ControllerProtocol)]
"""A number, or a controller."""
NonNegativeCoefficient = Annotated[float | Controller, Choice(ControllerProtocol), AfterValidator(_not_negative)]


def choose_coefficient(coef: float | Controller, rollouts: Rollouts, state: State) -> tuple[float, State]:
    """Return the coefficient for these rollouts, and the controller's next state."""
    return (float(coef), state) if isinstance(coef, int | float) else call(coef, rollouts, state)


def varies(coef: float | Controller) -> bool:
    """Return whether the coefficient may change during a run, so that it is recorded at each step."""
    return not isinstance(coef, int | float | Fixed)
