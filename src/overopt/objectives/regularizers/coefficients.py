"""What a regularizer's coefficient may be: a number, or a controller that moves it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator

from overopt.config import Choice
from overopt.objectives.controllers import AdaptiveKL, Cosine, Fixed, Linear, TargetEntropy


def _not_negative(coef: Any) -> Any:
    """A negative coefficient of a divergence would reward distance from the reference without bound."""
    lowest = coef if isinstance(coef, int | float) else getattr(coef, "lowest", 0.0)
    if lowest < 0:
        raise ValueError(f"must be >= 0, got {lowest}")
    return coef


Coefficient = Annotated[float | Fixed | AdaptiveKL | Linear | Cosine | TargetEntropy, Choice()]
NonNegativeCoefficient = Annotated[
    float | Fixed | AdaptiveKL | Linear | Cosine | TargetEntropy, Choice(), AfterValidator(_not_negative)
]


def start(coef: Any) -> float:
    """The coefficient at the first update, for tables; of a controller from elsewhere its `initial`, if it has one."""
    if isinstance(coef, int | float):
        return float(coef)
    return float(coef.value if isinstance(coef, Fixed) else getattr(coef, "initial", float("nan")))
