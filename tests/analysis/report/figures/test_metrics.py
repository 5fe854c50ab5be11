"""Figures of training metrics draw what was recorded, and are left out where nothing was."""

from __future__ import annotations

from pathlib import Path

from fake_runs import offline_run, online_run

from overopt.analysis.report.collect import collect
from overopt.analysis.report.figures.metrics import draw_consecutive, draw_entropy, draw_offline, draw_training


def test_both_directions_are_drawn_as_recorded(tmp_path: Path) -> None:
    online_run(tmp_path / "on")
    drawn = draw_consecutive(collect([tmp_path]).groups[0])
    assert drawn is not None
    assert [panel.title for panel in drawn.panels] == ["KL(new || old), nats", "KL(old || new), nats"]
    forward, backward = (panel.data for panel in drawn.panels)
    assert forward["kl_prev-lines"]["y"][-1] == 0.2
    assert backward["kl_prev_reverse-lines"]["y"][-1] == 0.4


def test_runs_that_do_not_record_it_have_no_such_figure(tmp_path: Path) -> None:
    offline_run(tmp_path / "off")
    assert draw_consecutive(collect([tmp_path]).groups[0]) is None


def test_what_is_recorded_is_drawn_and_what_is_not_is_absent(tmp_path: Path) -> None:
    online_run(tmp_path / "on")
    drawn = draw_entropy(collect([tmp_path]).groups[0])
    assert drawn is not None
    assert [panel.title for panel in drawn.panels] == ["entropy per token (nats)"], "no surprisal, no bonus in this run"
    assert set(drawn.panels[0].data["entropy_tok-lines"]["y"]) == {0.5}


def test_offline_runs_have_no_entropy(tmp_path: Path) -> None:
    offline_run(tmp_path / "off")
    assert draw_entropy(collect([tmp_path]).groups[0]) is None


def test_reward_proxy_and_gradients_while_training(tmp_path: Path) -> None:
    online_run(tmp_path / "on")
    drawn = draw_training(collect([tmp_path]).groups[0])
    assert drawn is not None
    last = {panel.title: next(iter(panel.data.values()))["y"][-1] for panel in drawn.panels}
    assert last == {"reward maximized": 1.9, "proxy on training samples": 2, "gradient norm": 1}


def test_offline_runs_have_their_own(tmp_path: Path) -> None:
    offline_run(tmp_path / "off")
    assert draw_training(collect([tmp_path]).groups[0]) is None


def test_loss_accuracy_margins_and_log_probabilities(tmp_path: Path) -> None:
    offline_run(tmp_path / "off")
    drawn = draw_offline(collect([tmp_path]).groups[0])
    assert drawn is not None
    last = {panel.title: next(iter(panel.data.values()))["y"][-1] for panel in drawn.panels}
    assert last == {
        "loss": 0.05, "accuracy on the batch": 0.5, "implicit reward margin": 4, "gradient norm": 2,
        "log p(chosen), sum (nats)": -20, "log p(rejected), sum (nats)": -40, "reference's margin (nats)": 0.25,
        "log p(chosen), per token (nats)": -2,
    }  # fmt: skip


def test_online_runs_have_none(tmp_path: Path) -> None:
    online_run(tmp_path / "on")
    assert draw_offline(collect([tmp_path]).groups[0]) is None
