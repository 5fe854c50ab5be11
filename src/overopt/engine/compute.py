"""Where and how a stage computes: device, precision, threads, and the size of a micro-batch."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field

from overopt.config import block
from overopt.engine.memory import WITHOUT_GRADIENT
from overopt.errors import UserError

DEFAULT_TOKEN_BUDGET = 16_384
"""Of a micro-batch where nothing says how many."""


@block
class Compute:
    """Settings of the machine, none of the mathematics.

    `token_budget` bounds the tokens of a micro-batch; null: 16 384 on a CPU, on a GPU what its free memory holds, which
    the run's record tells. When memory runs out, it is halved and the work done again.
    `gradient_checkpointing: layers` keeps of each layer its input only, and computes the rest once more.
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["fp32", "bf16"] = "fp32"
    threads: Annotated[int, Field(gt=0)] | None = None
    token_budget: Annotated[int, Field(gt=0)] | None = None
    gradient_checkpointing: Literal["none", "layers"] = "none"

    def resolve(self) -> torch.device:
        """The device, with the thread count applied."""
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        if self.device == "cuda" and not torch.cuda.is_available():
            raise UserError("compute.device: cuda was asked for, but torch sees no GPU here; use auto or cpu")
        return torch.device("cuda" if self.device != "cpu" and torch.cuda.is_available() else "cpu")

    @property
    def bf16(self) -> bool:
        return self.precision == "bf16"

    @property
    def budget(self) -> int:
        """Tokens of a micro-batch, unless a GPU's memory has chosen others."""
        return self.token_budget or DEFAULT_TOKEN_BUDGET

    @property
    def evaluation_budget(self) -> int:
        """Tokens of a micro-batch of which no gradient is taken."""
        return WITHOUT_GRADIENT * self.budget
