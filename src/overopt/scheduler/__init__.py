"""Runs training jobs, each after its parents, here or on a Ray cluster: the only scheduler of the project."""

from __future__ import annotations

from overopt.scheduler.jobs import Event, Job, Result, result_of
from overopt.scheduler.local import available_cores
from overopt.scheduler.schedule import TRAIN, Executor, executor_for, run_jobs

__all__ = ["TRAIN", "Event", "Executor", "Job", "Result", "available_cores", "executor_for", "result_of", "run_jobs"]
