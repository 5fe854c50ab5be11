"""Runs lists of training jobs with parents over local worker processes: the only scheduler of the project."""

from __future__ import annotations

from overopt.sweep.jobs import Event, Failed, Finished, Job, Noticed, Progressed, Result, Skipped, Started
from overopt.sweep.scheduler import run_jobs

__all__ = ["Event", "Failed", "Finished", "Job", "Noticed", "Progressed", "Result", "Skipped", "Started", "run_jobs"]
