"""Where and how a stage computes: device, precision, threads, and the size of a micro-batch."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field

from overopt.config import block
from overopt.engine.memory import WITHOUT_GRADIENT
from overopt.errors import UserError

DEFAULT_TOKEN_BUDGET = 16_384
"""Tokens of a micro-batch, if neither the config nor a GPU's memory says how many."""


@block
class Compute:
    """Settings of the machine; they do not change what is computed, only how.

    `token_budget` bounds the tokens of a micro-batch; null: 16 384 on a CPU, on a GPU as many as its free memory holds
    (the run's record tells how many). When memory runs out, it is halved and the work is repeated.
    `gradient_checkpointing: layers` keeps only each layer's input and computes the layer again in the backward pass.
    `precision: bf16` computes in bf16; what is trained stays in float32, and so do optimizer and embeddings.
    `offload: frozen` keeps the reference and the reward model in the CPU's memory, but for the layer that computes.
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["fp32", "bf16"] = "fp32"
    threads: Annotated[int, Field(gt=0)] | None = None
    token_budget: Annotated[int, Field(gt=0)] | None = None
    gradient_checkpointing: Literal["none", "layers"] = "none"
    offload: Literal["none", "frozen"] = "none"

    def resolve(self) -> torch.device:
        """The device; also sets torch's thread count."""
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
        """Tokens of a micro-batch, unless a GPU's memory decides."""
        return self.token_budget or DEFAULT_TOKEN_BUDGET

    @property
    def evaluation_budget(self) -> int:
        """Tokens of a batch without gradients."""
        return WITHOUT_GRADIENT * self.budget
