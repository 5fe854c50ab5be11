from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch
from tiny import Chain

from overopt import config as configuration
from overopt.engine.memory import fitting_tokens
from overopt.errors import DivergedError, UserError
from overopt.models.meta_policy import bytes_per_token
from overopt.records import load_run
from overopt.training.run.progress import Progress
from overopt.training.run.session import Session
from overopt.training.stages import STAGES
from overopt.training.stages.sft import SFT
from overopt.training.train import train


@pytest.fixture
def session(tmp_path: Path) -> Session:
    config = configuration.load(STAGES, tiny.sft(provenance={"lr": "our choice"}))
    return Session(config, tmp_path / "run", config.compute)


def test_nothing_is_written_before_the_start(session: Session) -> None:
    session.dropped("demonstrations").add("too long", 3)
    session.dropped("demonstrations").kept = 97
    notices: list[str] = []
    session.notice = notices.append
    assert not session.out.exists()
    session.start(3, split="tuning")
    info = json.loads((session.out / "run.json").read_text())
    assert info["status"] == "running"
    assert info["dropped"] == {"demonstrations": {"too long": 3}}
    assert info["kept"] == {"demonstrations": 97}
    assert notices == [f"{session.out}: demonstrations: 3 of 100 records are left out (3 x too long)"]
    assert info["provenance"] == {"lr": "our choice"}
    assert (info["stage"], info["seed"], info["steps"], info["split"]) == ("sft", 0, 3, "tuning")
    assert info["device"] == "cpu" and info["threads"] == 1


def test_a_broken_loss_is_recorded_before_the_run_stops(session: Session) -> None:
    session.start(3)
    session.log(1, {"loss": 1.5, "grad_norm": 2.0}, tokens=7)
    with pytest.raises(DivergedError, match="loss is nan at step 2"):
        session.log(2, {"loss": math.nan, "grad_norm": 2.0}, tokens=7)
    run = load_run(session.out)
    assert tiny.rows(run) == [
        {"step": 1, "loss": 1.5, "grad_norm": 2.0},
        {"step": 2, "grad_norm": 2.0, "nonfinite": ["loss"]},
    ]
    assert run.timings()["tokens"] == [7, 7]


def test_a_broken_gradient_stops_it_too(session: Session) -> None:
    session.start(3)
    with pytest.raises(DivergedError, match="grad_norm is inf at step 1"):
        session.log(1, {"loss": 1.0, "grad_norm": math.inf}, tokens=1)


def test_a_parent_may_be_a_run_or_a_model_folder(session: Session, chain: Chain) -> None:
    folder = chain.policy / "checkpoints" / "step-60"
    assert session.parent("policy", str(chain.policy), ("sft",)) == folder
    assert session.parent("policy", str(folder), ("sft",)) == folder
    hashes = [parent["hash"] for parent in session.parents]
    assert all(len(h) == 64 for h in hashes) and hashes[0] != hashes[1]


def test_a_parent_that_will_not_do(session: Session, chain: Chain, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="policy: .*nowhere is neither a run directory nor a Hugging Face model folder"):
        session.parent("policy", str(tmp_path / "nowhere"), ("sft",))
    with pytest.raises(UserError, match="reward_model: .* is a run of stage sft; needed: reward_model"):
        session.parent("reward_model", str(chain.policy), ("reward_model",))
    run = train(tiny.sft(), tmp_path / "sft")
    info = json.loads((run.path / "run.json").read_text())
    (run.path / "run.json").write_text(json.dumps(info | {"status": "running"}))
    with pytest.raises(UserError, match="policy: .* is running, not finished; finish or repeat that run first"):
        session.parent("policy", str(run.path), ("sft",))
    assert not session.parents


def test_a_token_budget_that_had_to_shrink_is_recorded(session: Session) -> None:
    session.start(3)
    undone: list[int] = []

    def work(config: SFT) -> int:
        if config.compute.budget > 5000:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return config.compute.budget

    assert session.within_memory(work, lambda: undone.append(1)) == 16_384 // 4
    assert undone == [1, 1]
    assert load_run(session.out).info["token_budget"] == 16_384 // 4
    assert session.within_memory(work) == 16_384 // 4  # remembered


def test_a_gpu_s_free_memory_chooses_the_token_budget(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not on a CPU; and what the user asks for stays."""
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2 * 10**9, 10**11))
    policy = tiny.policy()
    pending = 12 * sum(p.numel() for p in policy.parameters()) + 3 * 2**28
    chosen = fitting_tokens(2 * 10**9, pending, bytes_per_token(policy))
    session.start(3)
    session._fit_memory(policy)
    assert session.budget.tokens == 16_384 and "token_budget" not in load_run(session.out).info  # on a CPU
    session.device = torch.device("cuda")
    session._fit_memory(policy)
    assert session.budget.tokens == chosen != 16_384
    assert load_run(session.out).info["token_budget"] == chosen
    assert session.within_memory(lambda config: config.compute.budget) == chosen
    session.compute = replace(session.compute, token_budget=77)
    session.budget.tokens = 77
    session._fit_memory(policy)
    assert session.budget.tokens == 77


@pytest.mark.parametrize("stage", ["sft", "reward_model", "online", "offline"])
def test_a_run_that_ran_out_of_memory_ends_where_it_would_have_ended(
    stage: str, short_chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second backward pass runs out of memory: its step is redone with half the budget."""
    settings = {
        "sft": tiny.sft(),
        "reward_model": tiny.reward_model(short_chain, max_completion_tokens=6),
        "online": tiny.online(short_chain),
        "offline": tiny.offline(short_chain),
    }[stage]
    plain = train(settings, tmp_path / "plain")
    calls = [0]
    backward = torch.Tensor.backward

    def too_much(self: torch.Tensor) -> None:
        calls[0] += 1
        backward(self)
        if calls[0] == 2:  # after gradients were gathered, so that forgetting to undo would show
            raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch.Tensor, "backward", too_much)
    cramped = train(settings, tmp_path / "cramped")
    assert cramped.info["token_budget"] == 16_384 // 2 and "token_budget" not in plain.info
    assert calls[0] == 1 + len(list(plain.iter_metrics())) * (4 if stage == "online" else 1)
    assert tiny.farthest(plain, cramped) < 1e-5


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
