from __future__ import annotations

from pathlib import Path

import pytest
from fake_runs import offline_run, online_run

from overopt.analysis.report.collect import collect
from overopt.analysis.report.figures.kl import draw_kl, kl_of, on_learning_rate


def test_online_it_is_of_training_offline_of_evaluations(tmp_path: Path) -> None:
    online_run(tmp_path / "on")
    offline_run(tmp_path / "off")
    offline, online = (group.records[0] for group in sorted(collect([tmp_path]).groups, key=lambda g: g.slug))
    trained, evaluated = kl_of(online), kl_of(offline)
    assert trained is not None
    assert evaluated is not None
    assert trained[1].tolist() == [step / 4 for step in range(1, 21)]
    assert (evaluated[0].tolist(), evaluated[1].tolist()) == ([0, 10, 20], [0, 1, 2])


def test_the_learning_rate_is_added_up(tmp_path: Path) -> None:
    offline_run(tmp_path / "off")
    record = collect([tmp_path]).records[0]
    found = on_learning_rate(record)
    assert found is not None
    assert found[0].tolist() == pytest.approx([0, 10 * 1e-4, 20 * 1e-4])
    record.metrics.pop("lr")
    assert on_learning_rate(record) is None


def test_both_axes_are_drawn(tmp_path: Path) -> None:
    online_run(tmp_path / "on")
    drawn = draw_kl(collect([tmp_path]).groups[0])
    assert drawn is not None
    step, rate = (panel.data for panel in drawn.panels)
    assert (step["kl_step-lines"]["x"][-1], step["kl_step-lines"]["y"][-1]) == (20, 5)
    assert (rate["kl_lr-lines"]["x"][-1], rate["kl_lr-lines"]["y"][-1]) == (0.01, 5)
