"""Contrastive preference optimization."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from overopt.config import block
from overopt.objectives.contracts import PreferenceLossProtocol
from overopt.objectives.pair_losses.nll import token_mean_nll
from overopt.types import PreferenceScores


@block
class CPO(PreferenceLossProtocol):
    """Contrastive preference optimization: DPO with a uniform reference, and imitation of the chosen.

    l is summed over tokens, nats; the negative log-likelihood is the mean over the batch's chosen tokens. Defaults are
    TRL's.
    """

    formula = "L = -log sigma(beta (l_w - l_l)) + nll_weight NLL(y_w), NLL a mean over chosen tokens"
    source = "Xu et al. 2024, arXiv 2401.08417"
    elsewhere: ClassVar[dict[str, Any]] = {
        "trl": {"trainer": "CPOTrainer", "loss_type": "'sigmoid'", "beta": "beta", "cpo_alpha": "nll_weight"},
    }

    beta: Annotated[float, Field(gt=0)] = 0.1
    nll_weight: Annotated[float, Field(ge=0)] = 1.0

    def __call__(self, scores: PreferenceScores) -> Tensor:
        chosen_P, rejected_P = self.reward(scores)
        return -F.logsigmoid(chosen_P - rejected_P) + self.nll_weight * token_mean_nll(scores)

    def reward(self, scores: PreferenceScores) -> tuple[Tensor, Tensor]:
        """beta l, nats, of the chosen and the rejected completion."""
        return self.beta * scores.chosen.logp_P, self.beta * scores.rejected.logp_P
