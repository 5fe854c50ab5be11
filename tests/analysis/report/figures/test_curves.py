from __future__ import annotations

from pathlib import Path

from fake_runs import BETTER, WORSE, online_run

from overopt.analysis.report.collect import collect
from overopt.analysis.report.figures.curves import draw_curves
from overopt.analysis.report.figures.drawing import MANY, rows_of


def test_win_rate_proxy_and_gold_with_intervals_and_the_start(tmp_path: Path) -> None:
    online_run(tmp_path / "none", WORSE)
    drawn = draw_curves(collect([tmp_path]).groups[0])
    assert drawn is not None
    assert [panel.title for panel in drawn.panels] == [
        "win rate against the reference", "proxy (reward model's score)", "gold reward",
    ]  # fmt: skip
    data = {name: table for panel in drawn.panels for name, table in panel.data.items()}
    assert data["win_rate-lines"]["y"] == [0.4, 0.2, 0]
    assert data["proxy-lines"]["y"] == [0, 2, 3]
    assert data["gold-lines"]["y"] == [-1, -4, -9]
    assert [(row["x"], row["low"], row["high"]) for row in rows_of(data["win_rate-intervals"])] == [
        (0, 0.2, 0.6), (10, 0, 0.4), (20, 0, 0.2),
    ]  # fmt: skip
    assert data["win_rate-sft"] == {"y": [0.4]}


def test_many_runs_have_no_intervals(tmp_path: Path) -> None:
    for place in range(MANY):
        online_run(tmp_path / str(place), BETTER)
    drawn = draw_curves(collect([tmp_path]).groups[0])
    assert drawn is not None
    assert drawn.panels[0].data.keys() == {"win_rate-lines", "win_rate-ends", "win_rate-sft"}


def test_without_evaluations_there_is_no_figure(tmp_path: Path) -> None:
    online_run(tmp_path / "kl", [])
    assert draw_curves(collect([tmp_path]).groups[0]) is None
