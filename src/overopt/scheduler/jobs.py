"""Jobs, the events that report their progress, and their results: plain data that imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class Job:
    """A training run: its stage's configuration, its run directory, and the jobs that must finish before it."""

    name: str
    config: Mapping[str, Any]
    out: Path
    parents: tuple[str, ...] = ()
    cost: float = 1.0
    """Expected seconds on one core, used only to estimate the time left."""
    resources: Mapping[str, float] = field(default_factory=lambda: {"CPU": 1.0})
    """What it takes up of a cluster's machine, by Ray's names: CPU, GPU, memory (bytes), and names of the user's."""

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
    """A message of the run, such as that it was finished already and left alone."""

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
    """The traceback; None if the user must correct the error."""


@dataclass(frozen=True)
class Lost:
    """The job did not end: the machine or the process under it is gone, through no fault of the job."""

    job: str
    message: str


@dataclass(frozen=True)
class Skipped:
    """The job is not run, because `because` failed: one of its ancestors, or a gate."""

    job: str
    because: str


Event = Started | Progressed | Noticed | Finished | Failed | Lost | Skipped


@dataclass(frozen=True)
class Result:
    """How a job ended. `message` gives the reason, unless it finished."""

    status: Literal["finished", "failed", "skipped"]
    message: str = ""
    traceback: str | None = None


def result_of(event: Event) -> Result | None:
    """What an event says became of its job, or None if the job goes on."""
    match event:
        case Finished():
            return Result("finished")
        case Failed(_, message, trace):
            return Result("failed", message, trace)
        case Skipped(_, because):
            return Result("skipped", f"not run, because {because} failed")
    return None
