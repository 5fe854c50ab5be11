"""Rules for the score of a completion that was cut off at the length limit, before EOS."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from overopt.config import Choice, NonNegative, block
from overopt.objectives.contracts import MissingEOSProtocol


@block
class Replace(MissingEOSProtocol):
    """Replaces the score of an unended completion by `value`; meaningful only if the reward model is centered."""

    formula = "R = value if EOS is missing, else r"
    source = "N+ recipe (Huang et al. 2024): -1"

    value: float = -1.0

    def __call__(self, score_B: Tensor, ended_B: Tensor) -> Tensor:
        return torch.where(ended_B, score_B, self.value)


@block
class Subtract(MissingEOSProtocol):
    """Subtracts `penalty` from the score of an unended completion (TRL's `missing_eos_penalty`)."""

    formula = "R = r - penalty if EOS is missing, else r"
    source = "TRL's PPOTrainer and old RLOOTrainer"

    penalty: NonNegative = 1.0

    def __call__(self, score_B: Tensor, ended_B: Tensor) -> Tensor:
        return score_B - self.penalty * (~ended_B)


@block
class KeepScore(MissingEOSProtocol):
    """Leaves the score of an unended completion unchanged."""

    config_name = "keep"
    formula = "R = r"
    source = "as if nothing were missing"

    def __call__(self, score_B: Tensor, ended_B: Tensor) -> Tensor:
        return score_B


MissingEOS = Annotated[Replace | Subtract | KeepScore, Choice(MissingEOSProtocol)]
