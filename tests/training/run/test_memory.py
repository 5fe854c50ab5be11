from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from tiny import Chain

from overopt.engine.compute import Compute
from overopt.engine.memory import TokenBudget, fitting_tokens
from overopt.errors import UserError
from overopt.evaluation import evaluator
from overopt.models.load import load_policy
from overopt.models.meta_policy import bytes_per_token
from overopt.records import load_run
from overopt.training.run import memory, parents
from overopt.training.run.memory import check_room, fit_budget
from overopt.training.run.session import Session
from overopt.training.run.trainer_state import TrainerState
from overopt.training.train import train

CPU = torch.device("cpu")


def test_a_token_budget_that_had_to_shrink_is_recorded(session: Session, trainer: TrainerState) -> None:
    undone: list[int] = []

    def work(tokens: int) -> int:
        if tokens > 5000:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return tokens

    with session.start(trainer, 3) as run:
        assert run.budget.within(work, lambda: undone.append(1)) == 16_384 // 4
        assert undone == [1, 1]
        assert load_run(session.out).info["token_budget"] == 16_384 // 4
        assert run.budget.within(work) == 16_384 // 4  # remembered


def test_a_token_budget_that_shrank_before_the_run_was_written_is_recorded(
    session: Session, trainer: TrainerState
) -> None:
    """As while pairs are sampled."""
    session.budget.change(16_384 // 2)
    with session.start(trainer, 3):
        assert load_run(session.out).info["token_budget"] == 16_384 // 2


def test_a_model_too_large_for_the_memory_is_refused_before_it_loads(
    tmp_path: Path, short_chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = sum(p.numel() for p in load_policy(load_run(short_chain.policy).checkpoint(), CPU).parameters())
    monkeypatch.setattr(parents, "load_policy", lambda *args: pytest.fail("it was loaded"))
    monkeypatch.setattr(memory, "free_bytes", lambda device: 16 * weights - 1)
    with pytest.raises(UserError, match="policy: .* to train all of them takes, .* at least .* trainable: lora"):
        train(tiny.online(short_chain), tmp_path / "run")
    monkeypatch.setattr(memory, "free_bytes", lambda device: 4 * weights - 1)
    with pytest.raises(UserError, match="policy: .*; it takes .* use a smaller model .`overopt plan`"):
        train(tiny.online(short_chain, trainable="lora"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_message_has_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """6.857 billion weights of 16 bytes are 102.2 GiB."""
    monkeypatch.setattr(memory, "free_bytes", lambda device: 79 * 2**30)
    with pytest.raises(UserError, match=r"has 6.86 billion weights; .* 102.2 GiB, and the GPU has 79.0 GiB free"):
        check_room("policy: pythia", 6_857_302_016, 16, torch.device("cuda"))
    check_room("policy: pythia", 6_857_302_016, 4, torch.device("cuda"))


def test_free_memory_is_that_of_the_machine_or_the_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = memory.free_bytes(CPU)
    assert free is not None and 2**20 < free < 2**50
    (tmp_path / "max").write_text("1000000\n")
    (tmp_path / "current").write_text("400000\n")
    monkeypatch.setattr(memory, "LIMIT", tmp_path / "max")
    monkeypatch.setattr(memory, "USED", tmp_path / "current")
    assert memory.free_bytes(CPU) == 600_000
    (tmp_path / "max").write_text("max\n")
    assert memory.free_bytes(CPU) > 2**20


def test_a_gpu_s_free_memory_chooses_the_token_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not on a CPU; and what the user asks for stays."""
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2 * 10**9, 10**11))
    policy, told = tiny.policy(), []
    pending = 12 * sum(p.numel() for p in policy.parameters()) + 3 * 2**28
    chosen = fitting_tokens(2 * 10**9, pending, bytes_per_token(policy))
    budget = TokenBudget(16_384, told.append)
    fit_budget(budget, policy, Compute(), torch.device("cpu"))
    fit_budget(budget, policy, Compute(token_budget=16_384), torch.device("cuda"))
    assert budget.tokens == 16_384 and told == []
    fit_budget(budget, policy, Compute(), torch.device("cuda"))
    assert budget.tokens == chosen != 16_384 and told == [chosen]


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


@pytest.mark.parametrize("stage", ["sft", "online", "offline"])
def test_an_evaluation_that_runs_out_of_memory_is_made_again_and_its_budget_reaches_the_next(
    stage: str, short_chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first evaluation's sampling fails once; from then on every evaluation is given half of the tokens."""
    config = {
        "sft": tiny.sft(steps=4, checkpoint_every=2),
        "online": tiny.online(short_chain),
        "offline": tiny.offline(short_chain),
    }[stage]
    plain = train(config, tmp_path / "plain")
    sample, budgets = evaluator.sample_in_batches, []

    def too_much(*arguments: Any) -> Any:
        budgets.append(arguments[-1])
        if len(budgets) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return sample(*arguments)

    monkeypatch.setattr(evaluator, "sample_in_batches", too_much)
    cramped = train(config, tmp_path / "cramped")
    assert cramped.info["token_budget"] == 16_384 // 2 and "token_budget" not in plain.info
    assert budgets[0] == 4 * 16_384 and set(budgets[1:]) == {2 * 16_384} and len(budgets) > 2
    assert tiny.farthest(plain, cramped) < 1e-5
    wins = [[row.get("win_rate") for row in run.evaluations()] for run in (plain, cramped)]
    assert wins[0] == wins[1]
