"""The check of one part of a statement: its residual, and the tolerance."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

EXACT = 1e-12
"""The tolerance of an identity: rounding in float64."""


@dataclass(frozen=True, slots=True)
class Check:
    """`residual` is the largest error found; where two things must differ, by how much the gap is too small."""

    id: str
    statement: str
    residual: float
    tolerance: float

    @property
    def holds(self) -> bool:
        """Whether the residual is within the tolerance; NaN is not."""
        return self.residual <= self.tolerance

    def row(self) -> dict[str, Any]:
        """The check as a JSON object; a residual that is not finite is null."""
        return {
            "id": self.id,
            "statement": self.statement,
            "holds": self.holds,
            "residual": self.residual if math.isfinite(self.residual) else None,
            "tolerance": self.tolerance,
        }


def equal(name: str, statement: str, errors: Iterable[Tensor], tolerance: float = EXACT) -> Check:
    """Check that all differences are zero."""
    return Check(name, statement, _largest(errors), tolerance)


def at_most(name: str, statement: str, excesses: Iterable[Tensor], tolerance: float = EXACT) -> Check:
    """Check that no difference is positive."""
    return Check(name, statement, _largest(excess.clamp(min=0) for excess in excesses), tolerance)


def differ(name: str, statement: str, difference: Tensor, required: float) -> Check:
    """Check that two things are at least `required` apart in their largest component."""
    missing = max(required - _largest([difference]), 0.0)  # NaN stays: `max` keeps its first argument
    return Check(name, f"{statement} (by {required:g} or more)", missing, 0.0)


def _largest(errors: Iterable[Tensor]) -> float:
    """Return the largest absolute component; NaN if one is NaN."""
    return float(torch.cat([error.abs().flatten() for error in errors]).max())
