from __future__ import annotations

import pytest
import torch

from overopt.engine.memory import MAX_TOKEN_BUDGET, MIN_TOKEN_BUDGET, TokenBudget, fitting_tokens, out_of_memory
from overopt.errors import UserError


def test_the_budget_halves_until_the_work_fits_and_stays() -> None:
    tried: list[int] = []
    undone: list[int] = []
    told: list[int] = []
    budget = TokenBudget(1000, told.append)

    def work(tokens: int) -> int:
        tried.append(tokens)
        if tokens > 300:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return tokens

    assert budget.within(work, lambda: undone.append(len(tried))) == 250
    assert (tried, undone, budget.tokens, told) == ([1000, 500, 250], [1, 2], 250, [500, 250])
    assert budget.within(work) == 250 and tried[3:] == [250]


def test_work_without_a_gradient_is_given_four_times_the_tokens() -> None:
    budget = TokenBudget(100)

    def work(tokens: int) -> int:
        if tokens > 250:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return tokens

    assert budget.without_gradient(work) == 200 and budget.tokens == 50


def test_when_no_budget_helps_the_user_is_told_what_might() -> None:
    def work(tokens: int) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 TiB\nmore")

    budget = TokenBudget(4 * MIN_TOKEN_BUDGET)
    with pytest.raises(UserError, match=r"Tried to allocate 1 TiB\): lower max_prompt_tokens.*gradient_checkpointing"):
        budget.within(work)
    assert budget.tokens == MIN_TOKEN_BUDGET


def test_other_errors_are_not_taken_for_it() -> None:
    def work(tokens: int) -> None:
        raise RuntimeError("shape mismatch")

    with pytest.raises(RuntimeError, match="shape mismatch"):
        TokenBudget(100).within(work)


def test_what_torch_says_on_a_cpu_counts() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert out_of_memory(caught.value)


def test_what_fits_is_a_power_of_two_of_tokens() -> None:
    """Four fifths of what is left, at 1 kB a token: of 1 GB less 200 MB 640 thousand, which holds 2^19."""
    assert fitting_tokens(1_000_000_000, 200_000_000, 1000.0) == 2**19
    assert fitting_tokens(1_010_000_000, 200_000_000, 1000.0) == 2**19
    assert fitting_tokens(80_000_000_000, 0, 1e6) == 32_768  # 64 thousand tokens, less than 2^16
    assert fitting_tokens(80_000_000_000, 0, 1.0) == MAX_TOKEN_BUDGET
    assert (
        fitting_tokens(1000, 2000, 1.0) == MIN_TOKEN_BUDGET
    )  # nothing is left: the smallest, and backing off says the rest
