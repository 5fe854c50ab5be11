"""What a completion scores that was cut at the length limit before it ended."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from overopt.config import Choice, block


@block
class Replace:
    """The score of an unended completion is replaced by `value`; meaningful only if the reward model is centered."""

    value: float = -1.0

    def __call__(self, score_B: Tensor, ended_B: Tensor) -> Tensor:
        return torch.where(ended_B, score_B, self.value)


@block
class Subtract:
    """`penalty` is subtracted from the score of an unended completion (TRL's `missing_eos_penalty`)."""

    penalty: Annotated[float, Field(ge=0)] = 1.0

    def __call__(self, score_B: Tensor, ended_B: Tensor) -> Tensor:
        return score_B - self.penalty * (~ended_B)


@block
class Keep:
    """The score stays as it is."""

    def __call__(self, score_B: Tensor, ended_B: Tensor) -> Tensor:
        return score_B


MissingEOS = Annotated[Replace | Subtract | Keep, Choice()]
