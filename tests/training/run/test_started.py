from __future__ import annotations

import math
from pathlib import Path

import pytest
import tiny
from tiny import Chain

from overopt.errors import DivergedError, StoppedError, UserError
from overopt.records import load_run
from overopt.training.run.progress import Progress
from overopt.training.run.session import Session
from overopt.training.run.stopping import StopConditions
from overopt.training.run.trainer_state import TrainerState
from overopt.training.train import train


def test_a_broken_loss_is_recorded_before_the_run_stops(session: Session, trainer: TrainerState) -> None:
    with session.start(trainer, 3) as run:
        assert run.steps_left() == range(1, 4) and not run.resumed
        run.log(1, {"loss": 1.5, "grad_norm": 2.0}, tokens=7)
        with pytest.raises(DivergedError, match="loss is nan at step 2"):
            run.log(2, {"loss": math.nan, "grad_norm": 2.0}, tokens=7)
    found = load_run(session.out)
    assert tiny.rows(found) == [
        {"step": 1, "loss": 1.5, "grad_norm": 2.0},
        {"step": 2, "grad_norm": 2.0, "nonfinite": ["loss"]},
    ]
    assert found.timings()["tokens"] == [7, 7]


def test_a_run_killed_between_its_last_state_and_its_stop_stops_before_another_step(
    chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny.online(chain, stop_when=[{"name": "kl", "budget": 1e-9}], checkpoint_every=1)
    check = StopConditions.check

    def killed(conditions: StopConditions, step: int) -> None:
        try:
            check(conditions, step)
        except StoppedError as stop:
            raise KeyboardInterrupt from stop

    monkeypatch.setattr(StopConditions, "check", killed)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "run")
    monkeypatch.setattr(StopConditions, "check", check)
    before = load_run(tmp_path / "run")
    assert before.status == "running"
    run = train(config, tmp_path / "run")
    assert run.status == "stopped" and run.info["stopped_at"] < run.info["steps"]
    assert tiny.rows(run) == tiny.rows(before)


def test_the_first_quality_of_a_step_is_what_checkpoints_compare(session: Session, trainer: TrainerState) -> None:
    with session.start(trainer, 3, checkpoints=[1]) as run:
        run.record({"step": 1, "win_rate": 0.4}, 0.4)
        run.record({"step": 1, "accuracy": 0.9}, 0.9)
        run.keep(1)
        assert (run.checkpointer.best, run.quality) == (0.4, None)


@pytest.mark.parametrize("stage", ["sft", "reward_model", "offline"])
def test_weights_that_the_last_update_broke_end_in_no_checkpoint(stage: str, chain: Chain, tmp_path: Path) -> None:
    """A decay beyond single precision: loss and gradient of the only step are finite, and the weights after it not."""
    broken = {"optimizer": {"name": "sgd", "weight_decay": 1e38}, "lr": 1e10, "checkpoint_every": 1}
    settings = {
        "sft": tiny.sft(steps=1, **broken),
        "reward_model": tiny.reward_model(chain, batch_size=64, **broken),
        "offline": tiny.offline(chain, batch_size=64, **broken),
    }[stage]
    with pytest.raises(UserError, match="diverged, a weight is not finite at step 1; no checkpoint"):
        train(settings, tmp_path / "run")
    run = load_run(tmp_path / "run")
    assert (run.status, run.info["diverged_at"], run.checkpoints()) == ("diverged", 1, [])
    (row,) = tiny.rows(run)
    assert math.isfinite(row["loss"]) and math.isfinite(row["grad_norm"])
    assert 1 not in run.sample_steps()
    assert all(row["step"] == 0 for row in run.evaluations() if "win_rate" in row)


def test_the_status_line_shows_what_is_recorded(chain: Chain, tmp_path: Path) -> None:
    told: list[Progress] = []
    run = train(tiny.offline(chain, lr=3e-2), tmp_path / "run", progress=told.append)
    assert [(one.stage, one.step, one.steps) for one in told] == [("offline", step, 4) for step in (1, 2, 3, 4)]
    for one, row in zip(told, tiny.rows(run), strict=True):
        assert one.metrics == {name: row[name] for name in ("loss", "rewards_acc")}
        assert 0 <= row["rewards_acc"] <= 1
    last = tiny.rows(run)[-1]
    assert last["rewards_margin"] > 0 and last["rewards_acc"] > 0.5
