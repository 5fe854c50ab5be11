"""Coefficients that move during a run. State is explicit: `init()`, then `(state, rollouts) -> (coef, state)`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from overopt.config import block
from overopt.types import Rollouts

State = dict[str, Any]
Positive = Annotated[float, Field(gt=0)]


@block
class AdaptiveKL:
    """Ziegler et al. 2019, section 2.2: a proportional controller in log-space that steers KL(pi || ref) to a target.

    e = clip((KL - target) / target, -0.2, 0.2);  coef <- coef (1 + e B / horizon)

    KL is the batch mean of the k1 estimate (nats per sequence), B the episodes of the batch. The coefficient
    returned is the one in force for this batch; the update takes effect at the next.
    """

    initial: Positive = 0.2
    target: Positive = 6.0
    horizon: Positive = 10_000.0

    def init(self) -> State:
        return {"coef": self.initial}

    def __call__(self, state: State, rollouts: Rollouts) -> tuple[float, State]:
        coef = float(state["coef"])
        kl_B = rollouts.sequence_kl_B
        error = min(0.2, max(-0.2, float(kl_B.mean()) / self.target - 1.0))
        factor = max(0.0, 1.0 + error * len(kl_B) / self.horizon)  # a batch beyond 5 horizons must not flip the sign
        return coef, {"coef": coef * factor}


def initial_state(coef: float | AdaptiveKL) -> State:
    """The state a coefficient starts with; a plain number has none."""
    return {} if isinstance(coef, int | float) else coef.init()


def current(coef: float | AdaptiveKL, state: State, rollouts: Rollouts) -> tuple[float, State]:
    """The coefficient in force for these rollouts, and the state for the next batch."""
    return (float(coef), state) if isinstance(coef, int | float) else coef(state, rollouts)
