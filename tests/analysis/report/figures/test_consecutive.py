from __future__ import annotations

from pathlib import Path

from fake_runs import offline_run, online_run

from overopt.analysis.report.collect import collect
from overopt.analysis.report.figures.consecutive import figure


def test_both_directions_are_drawn_as_recorded(tmp_path: Path) -> None:
    online_run(tmp_path / "on")
    drawn = figure(collect([tmp_path]).groups[0])
    assert drawn is not None
    assert [panel.title for panel in drawn.panels] == ["KL(new || old), nats", "KL(old || new), nats"]
    forward, backward = (panel.data for panel in drawn.panels)
    assert forward["kl_prev-lines"]["y"][-1] == 0.2
    assert backward["kl_prev_reverse-lines"]["y"][-1] == 0.4


def test_runs_that_do_not_record_it_have_no_such_figure(tmp_path: Path) -> None:
    offline_run(tmp_path / "off")
    assert figure(collect([tmp_path]).groups[0]) is None
