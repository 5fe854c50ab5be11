"""A job, what the scheduler says while jobs run, and what became of each. Plain data: imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class Job:
    """One training run: its stage's config tree, the run directory it makes, and the jobs that must finish first."""

    name: str
    config: Mapping[str, Any]
    out: Path
    parents: tuple[str, ...] = ()
    cost: float = 1.0
    """Expected seconds on one core. Only the estimate of the time left uses it."""

    @property
    def stage(self) -> str:
        return str(self.config.get("stage", "?"))


@dataclass(frozen=True)
class Started:
    job: str


@dataclass(frozen=True)
class Progressed:
    job: str
    step: int
    steps: int
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Noticed:
    """Something the run says in words, such as that it was already finished and left alone."""

    job: str
    text: str


@dataclass(frozen=True)
class Finished:
    job: str
    seconds: float


@dataclass(frozen=True)
class Failed:
    job: str
    message: str
    traceback: str | None = None
    """None if the fault is the user's to mend."""


@dataclass(frozen=True)
class Skipped:
    """Not run, because the run `because`, which it descends from, failed, or the gate that `because` names did."""

    job: str
    because: str


Event = Started | Progressed | Noticed | Finished | Failed | Skipped


@dataclass(frozen=True)
class Result:
    """What became of a job. `message` says why, unless it finished."""

    status: Literal["finished", "failed", "skipped"]
    message: str = ""
    traceback: str | None = None
