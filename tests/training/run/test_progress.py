from __future__ import annotations

from pathlib import Path

import tiny

from overopt.training.run.progress import Progress
from overopt.training.train import train


def test_every_step_is_told_with_a_few_metrics(tmp_path: Path) -> None:
    told: list[Progress] = []
    run = train(tiny.sft(), tmp_path / "run", progress=told.append)
    assert [(p.stage, p.step, p.steps) for p in told] == [("sft", 1, 3), ("sft", 2, 3), ("sft", 3, 3)]
    assert [dict(p.metrics) for p in told] == [{"loss": row["loss"]} for row in tiny.rows(run)]


def test_metrics_may_be_absent() -> None:
    assert dict(Progress("sft", 1, 2).metrics) == {}
