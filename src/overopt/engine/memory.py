"""Out of memory: the work is undone and done again in smaller micro-batches; the run remembers the size that fits."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch

from overopt.errors import UserError

T = TypeVar("T")

WITHOUT_GRADIENT = 4
"""Without gradients nothing is kept for the backward pass, so this many times the tokens fit."""
MIN_TOKEN_BUDGET = 16
"""A budget below this many tokens is no way out: every tree travels alone long before."""

MAX_TOKEN_BUDGET = 1 << 20
"""More tokens than this fill any GPU."""
FREE_MEMORY_SHARE = 0.8
"""Of the memory that is free; the rest is for what kernels need while they run, and for gaps between tensors."""


def fitting_tokens(free: int, pending: int, per_token: float) -> int:
    """Tokens of a micro-batch that fit `free` bytes, of which `pending` will be taken by other things, a power of two.

    A power of two, so that a few megabytes more or less that other programs hold do not change a run's rounding.
    """
    tokens = int(FREE_MEMORY_SHARE * max(0, free - pending) / per_token)
    return max(MIN_TOKEN_BUDGET, min(MAX_TOKEN_BUDGET, 1 << tokens.bit_length() - 1 if tokens else 0))


@dataclass
class TokenBudget:
    """How many tokens a micro-batch may hold. It halves when memory runs out, and stays so."""

    tokens: int
    on_change: Callable[[int], None] = lambda tokens: None
    """Is told each new budget."""

    def change(self, tokens: int) -> None:
        """Set the budget, and tell it."""
        self.tokens = tokens
        self.on_change(tokens)

    def within(self, work: Callable[[int], T], undo: Callable[[], None] = lambda: None) -> T:
        """What `work` returns given the budget; after an out-of-memory error it is undone and repeated with half."""
        while True:
            try:
                return work(self.tokens)
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
                message = str(error).splitlines()[0]
            # Out here the error, and with it every tensor that its traceback held, is gone.
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
