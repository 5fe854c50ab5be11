"""Kahneman-Tversky optimization, on pairs taken apart into a desirable and an undesirable completion."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from overopt.config import block
from overopt.objectives.pair_losses.reference_rewards import reference_rewards
from overopt.types import PairScores


@block
class KTO:
    """L = w_d (1 - sigma(r_w - z)) + w_u (1 - sigma(z - r_l)), r = beta (l - lref) (Ethayarajh et al. 2024).

    z = max(0, beta * mean over the batch of (l - lref)) on mismatched completions (the next pair's), without
    gradient: a statistic of the batch, so the loss of a pair depends on its neighbors. Returns the sum of both halves.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"reference", "mismatched"})
    separable: ClassVar[bool] = False

    beta: Annotated[float, Field(gt=0)] = 0.1
    desirable_weight: Annotated[float, Field(ge=0)] = 1.0
    undesirable_weight: Annotated[float, Field(ge=0)] = 1.0

    def __call__(self, scores: PairScores) -> Tensor:
        assert scores.mismatched_logp_P is not None and scores.ref_mismatched_logp_P is not None
        chosen_P, rejected_P = self.reward(scores)
        drift_P = self.beta * (scores.mismatched_logp_P - scores.ref_mismatched_logp_P)
        zero = drift_P.detach().mean().clamp(min=0)
        desirable_P = self.desirable_weight * (1 - torch.sigmoid(chosen_P - zero))
        return desirable_P + self.undesirable_weight * (1 - torch.sigmoid(zero - rejected_P))

    def reward(self, scores: PairScores) -> tuple[Tensor, Tensor]:
        """beta (l - lref), nats, of the chosen and the rejected completion."""
        return reference_rewards(scores, self.beta)
