from __future__ import annotations

from pathlib import Path

from fake_runs import offline_run, online_run

from overopt.analysis.report.collect import collect
from overopt.analysis.report.figures.offline import figure


def test_loss_accuracy_margins_and_log_probabilities(tmp_path: Path) -> None:
    offline_run(tmp_path / "off")
    drawn = figure(collect([tmp_path]).groups[0])
    assert drawn is not None
    last = {panel.title: next(iter(panel.data.values()))["y"][-1] for panel in drawn.panels}
    assert last == {
        "loss": 0.05, "accuracy on the batch": 0.5, "implicit reward margin": 4, "gradient norm": 2,
        "log p(chosen), sum (nats)": -20, "log p(rejected), sum (nats)": -40, "reference's margin (nats)": 0.25,
        "log p(chosen), per token (nats)": -2,
    }  # fmt: skip


def test_online_runs_have_none(tmp_path: Path) -> None:
    online_run(tmp_path / "on")
    assert figure(collect([tmp_path]).groups[0]) is None
