"""When memory runs out, work is undone and repeated in smaller micro-batches; the run keeps the smaller size."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch

from overopt.engine import ranks
from overopt.errors import UserError

T = TypeVar("T")

WITHOUT_GRADIENT = 4
"""How many times the tokens fit if no activations are kept for a backward pass."""
MIN_TOKEN_BUDGET = 16
"""Tokens; a smaller budget would not help, since each tree is a micro-batch of its own long before."""

MAX_TOKEN_BUDGET = 1 << 20
"""Tokens that keep any GPU busy."""
FREE_MEMORY_SHARE = 0.8
"""The share of free memory that is used; the rest is for workspaces of kernels and fragmentation."""


def fitting_tokens(free: int, pending: int, per_token: float) -> int:
    """Tokens of a micro-batch that fit into `free` bytes, of which `pending` will be used otherwise, a power of two.

    A power of two, so that a few megabytes which other programs use do not change a run's micro-batches and rounding.
    """
    tokens = int(FREE_MEMORY_SHARE * max(0, free - pending) / per_token)
    return max(MIN_TOKEN_BUDGET, min(MAX_TOKEN_BUDGET, 1 << tokens.bit_length() - 1 if tokens else 0))


@dataclass
class TokenBudget:
    """How many tokens a micro-batch may hold; halved whenever memory runs out."""

    tokens: int
    on_change: Callable[[int], None] = lambda tokens: None
    """Called with each new budget."""

    def change(self, tokens: int) -> None:
        """Set the budget and call `on_change`."""
        self.tokens = tokens
        self.on_change(tokens)

    def within(self, work: Callable[[int], T], undo: Callable[[], None] = lambda: None) -> T:
        """The result of `work(tokens)`. After an out-of-memory error `undo` is called and half the tokens are tried."""
        while True:
            try:
                return work(self.tokens)
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
                message = str(error).splitlines()[0]
            if ranks.several():  # the others are past this point or will come to it, and cannot be asked to go back
                raise UserError(
                    f"out of memory in process {ranks.rank()} of {ranks.count()} ({message}): set "
                    f"compute.token_budget below {self.tokens}; several processes do not lower it by themselves"
                )
            # The error is gone here, and with it every tensor that its traceback held.
            undo()
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            if self.tokens // 2 < MIN_TOKEN_BUDGET:
                raise UserError(
                    f"out of memory, also with micro-batches of one prompt each ({message}): lower "
                    "max_prompt_tokens, max_completion_tokens or the completions of a prompt, or set "
                    "compute.gradient_checkpointing: layers"
                )
            self.change(self.tokens // 2)

    def without_gradient(self, work: Callable[[int], T]) -> T:
        """`within`, for work that keeps nothing for a backward pass: it is given WITHOUT_GRADIENT times the tokens."""
        return self.within(lambda tokens: work(WITHOUT_GRADIENT * tokens))


def out_of_memory(error: RuntimeError) -> bool:
    """Whether torch says that memory ran out, on a GPU or on a CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator: can't allocate memory" in str(error)
