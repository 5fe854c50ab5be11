"""Clipped ratios, shared by the losses of PPO's kind."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

Clip = Annotated[float, Field(gt=0)]
MAX_LOG_RATIO = 80.0
"""exp of more overflows in float32, and a clipped place's gradient would be 0 times infinity."""


def ratio(log_ratio: Tensor) -> Tensor:
    """pi_new / pi_old, finite."""
    return log_ratio.clamp(max=MAX_LOG_RATIO).exp()


def surrogates(advantage: Tensor, ratio: Tensor, low: float, high: float | None) -> tuple[Tensor, Tensor]:
    """-A rho and -A clip(rho, 1 - low, 1 + high); their maximum is PPO's loss. `high` None: as `low`."""
    return -advantage * ratio, -advantage * ratio.clamp(1 - low, 1 + (low if high is None else high))
