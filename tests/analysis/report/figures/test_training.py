from __future__ import annotations

from pathlib import Path

from fake_runs import offline_run, online_run

from overopt.analysis.report.collect import collect
from overopt.analysis.report.figures.training import figure


def test_reward_proxy_and_gradients_while_training(tmp_path: Path) -> None:
    online_run(tmp_path / "on")
    drawn = figure(collect([tmp_path]).groups[0])
    assert drawn is not None
    last = {panel.title: next(iter(panel.data.values()))["y"][-1] for panel in drawn.panels}
    assert last == {"reward maximized": 1.9, "proxy on training samples": 2, "gradient norm": 1}


def test_offline_runs_have_their_own(tmp_path: Path) -> None:
    offline_run(tmp_path / "off")
    assert figure(collect([tmp_path]).groups[0]) is None
