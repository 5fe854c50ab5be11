"""Runs training jobs, each after its parents, over worker processes: the only scheduler of the project."""

from __future__ import annotations

from overopt.scheduler.jobs import (
    Event,
    Failed,
    Finished,
    Job,
    Noticed,
    Progressed,
    Result,
    Skipped,
    Started,
    result_of,
)
from overopt.scheduler.local import available_cores
from overopt.scheduler.schedule import TRAIN, run_jobs

__all__ = [
    "TRAIN",
    "Event",
    "Failed",
    "Finished",
    "Job",
    "Noticed",
    "Progressed",
    "Result",
    "Skipped",
    "Started",
    "available_cores",
    "result_of",
    "run_jobs",
]
