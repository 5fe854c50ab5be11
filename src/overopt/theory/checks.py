"""A part of a statement, checked: how far it is from holding, and how far it may be."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

EXACT = 1e-12
"""What rounding in float64 may leave of an identity."""


@dataclass(frozen=True, slots=True)
class Check:
    """`residual` is the largest error found; for a part that says two things differ, what the gap lacks."""

    id: str
    statement: str
    residual: float
    tolerance: float

    @property
    def holds(self) -> bool:
        """A residual that is no number does not hold."""
        return self.residual <= self.tolerance

    def row(self) -> dict[str, Any]:
        """As JSON has it; a residual that is not finite has no number there."""
        return {
            "id": self.id,
            "statement": self.statement,
            "holds": self.holds,
            "residual": self.residual if math.isfinite(self.residual) else None,
            "tolerance": self.tolerance,
        }


def equal(name: str, statement: str, errors: Iterable[Tensor], tolerance: float = EXACT) -> Check:
    """Differences that should all be zero."""
    return Check(name, statement, _largest(errors), tolerance)


def at_most(name: str, statement: str, excesses: Iterable[Tensor], tolerance: float = EXACT) -> Check:
    """Differences none of which should be positive."""
    return Check(name, statement, _largest(excess.clamp(min=0) for excess in excesses), tolerance)


def differ(name: str, statement: str, difference: Tensor, required: float) -> Check:
    """Two things at least `required` apart in their largest component."""
    gap = _largest([difference])
    return Check(name, f"{statement} (by {required:g} or more)", _clamped(required - gap), 0.0)


def _clamped(value: float) -> float:
    return value if math.isnan(value) else max(0.0, value)


def _largest(errors: Iterable[Tensor]) -> float:
    """The largest absolute component of all; NaN if one is NaN."""
    return float(torch.cat([error.abs().flatten() for error in errors]).max())
