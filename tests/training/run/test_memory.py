from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from tiny import Chain

from overopt.engine.compute import Compute
from overopt.engine.memory import TokenBudget, fitting_tokens
from overopt.evaluation import evaluator
from overopt.models.meta_policy import bytes_per_token
from overopt.records import load_run
from overopt.training.run.memory import fit_budget
from overopt.training.run.session import Session
from overopt.training.run.trainer_state import TrainerState
from overopt.training.train import train


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
