"""What a running stage reports after each step, for a status line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Progress:
    """`step` of `steps` is done; `metrics` are a few of the step's, for a status line."""

    stage: str
    step: int
    steps: int
    metrics: Mapping[str, float] = field(default_factory=dict)
