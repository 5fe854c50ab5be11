"""Jobs and events are plain data."""

from __future__ import annotations

import pickle
from pathlib import Path

from overopt.scheduler.jobs import Job, Progressed


def test_a_job_knows_its_stage() -> None:
    assert Job("a", {"stage": "sft", "lr": 1e-3}, Path("runs/a")).stage == "sft"
    assert Job("a", {}, Path("runs/a")).stage == "?"


def test_they_pass_through_a_pipe_unchanged() -> None:
    for thing in (Job("a", {"lr": 1e-3}, Path("runs/a"), ("b",)), Progressed("a", 1, 2, {"loss": 0.1})):
        assert pickle.loads(pickle.dumps(thing)) == thing
