"""Kahneman-Tversky optimization, on pairs taken apart into a desirable and an undesirable completion."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from overopt.config import block
from overopt.objectives.contracts import PreferenceLossProtocol
from overopt.objectives.pair_losses.reference_rewards import reference_rewards
from overopt.types import PreferenceScores


@block
class KTO(PreferenceLossProtocol):
    """Kahneman-Tversky optimization: each completion alone is desirable or not, against the policy's drift.

    z is the drift on mismatched completions (each prompt with the next pair's chosen one), without gradient: a
    statistic of the batch, so the loss of a pair depends on its neighbors, and a batch needs two pairs. L is the sum
    of both halves; TRL averages over completions, which is L/2 for as many desirable as undesirable ones (hence the 2
    in the translation), and takes its mismatched completions from chosen and rejected ones alike, as they lie in its
    data. beta 0.1 is TRL's default.
    """

    formula = (
        "L = w_d (1 - sigma(r_w - z)) + w_u (1 - sigma(z - r_l)), r = beta (l - lref), "
        "z = max(0, beta mean_batch(l - lref on mismatched completions))"
    )
    source = "Ethayarajh et al. 2024, arXiv 2402.01306"
    elsewhere: ClassVar[dict[str, Any]] = {
        "trl": {
            "trainer": "KTOTrainer",
            "loss_type": "'kto'",
            "beta": "beta",
            "desirable_weight": "2 * desirable_weight",
            "undesirable_weight": "2 * undesirable_weight",
        },
        "openrlhf": "KTOLoss(beta, desirable_weight, undesirable_weight)",
    }
    needs = frozenset({"reference", "mismatched"})
    separable = False

    beta: Annotated[float, Field(gt=0)] = 0.1
    desirable_weight: Annotated[float, Field(ge=0)] = 1.0
    undesirable_weight: Annotated[float, Field(ge=0)] = 1.0

    def __call__(self, scores: PreferenceScores) -> Tensor:
        if scores.mismatched is None:
            raise ValueError("KTO needs mismatched completions")
        chosen_P, rejected_P = self.reward(scores)
        zero = (self.beta * scores.mismatched.log_ratio_P).detach().mean().clamp(min=0)
        desirable_P = self.desirable_weight * (1 - torch.sigmoid(chosen_P - zero))
        return desirable_P + self.undesirable_weight * (1 - torch.sigmoid(zero - rejected_P))

    def reward(self, scores: PreferenceScores) -> tuple[Tensor, Tensor]:
        """beta (l - lref), nats, of the chosen and the rejected completion."""
        return reference_rewards(scores, self.beta)
