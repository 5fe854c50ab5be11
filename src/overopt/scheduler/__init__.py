"""Runs lists of training jobs with parents over local worker processes: the only scheduler of the project."""

from __future__ import annotations

from overopt.scheduler.jobs import Event, Failed, Finished, Job, Noticed, Progressed, Result, Skipped, Started
from overopt.scheduler.scheduler import TRAIN, available_cores, run_jobs

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
    "run_jobs",
]
