from __future__ import annotations

from pathlib import Path

from fake_runs import offline_run, online_run

from overopt.analysis.report.collect import collect
from overopt.analysis.report.figures.entropy import figure


def test_what_is_recorded_is_drawn_and_what_is_not_is_absent(tmp_path: Path) -> None:
    online_run(tmp_path / "on")
    drawn = figure(collect([tmp_path]).groups[0])
    assert drawn is not None
    assert [panel.title for panel in drawn.panels] == ["entropy per token (nats)"], "no surprisal, no bonus in this run"
    assert set(drawn.panels[0].data["entropy_tok-lines"]["y"]) == {0.5}


def test_offline_runs_have_no_entropy(tmp_path: Path) -> None:
    offline_run(tmp_path / "off")
    assert figure(collect([tmp_path]).groups[0]) is None
