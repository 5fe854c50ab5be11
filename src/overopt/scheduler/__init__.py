"""Runs training jobs, each after its parents, over worker processes: the only scheduler of the project."""

from __future__ import annotations

from overopt.scheduler.jobs import Event, Job, Result, result_of
from overopt.scheduler.local import available_cores
from overopt.scheduler.schedule import TRAIN, run_jobs

__all__ = ["TRAIN", "Event", "Job", "Result", "available_cores", "result_of", "run_jobs"]
