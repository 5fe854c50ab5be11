"""Odds ratio preference optimization."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from overopt.config import block
from overopt.objectives.contracts import PreferenceLossProtocol
from overopt.objectives.pair_losses.nll import token_mean_nll
from overopt.types import PreferenceScores

SURE = -1e-6
"""Mean log-probability above which odds are no longer told apart: at 0 they are infinite."""


@block
class ORPO(PreferenceLossProtocol):
    """Odds ratio preference optimization: imitation of the chosen, and the odds of chosen against rejected.

    o is the log-odds of the mean probability per token, nats; a mean log-probability above -1e-6 counts as -1e-6, so
    that certainty is finite. The negative log-likelihood is the mean over the batch's chosen tokens; TRL's covers the
    prompt as well. odds_weight 0.1 is the authors' and TRL's (`beta`).
    """

    formula = (
        "L = NLL(y_w) - odds_weight log sigma(o_w - o_l), o = m - log(1 - e^m), m = l/|y|, "
        "NLL a mean over chosen tokens"
    )
    source = "Hong et al. 2024, arXiv 2403.07691, Eqs. 6 and 7"
    elsewhere: ClassVar[dict[str, Any]] = {"trl": {"trainer": "ORPOTrainer", "beta": "odds_weight"}}

    odds_weight: Annotated[float, Field(ge=0)] = 0.1

    def __call__(self, scores: PreferenceScores) -> Tensor:
        chosen_P, rejected_P = self.reward(scores)
        return token_mean_nll(scores) - self.odds_weight * F.logsigmoid(chosen_P - rejected_P)

    def reward(self, scores: PreferenceScores) -> tuple[Tensor, Tensor]:
        """o, the log-odds, of the chosen and the rejected completion."""
        return _log_odds(scores.chosen.mean_logp_P), _log_odds(scores.rejected.mean_logp_P)


def _log_odds(mean_logp_P: Tensor) -> Tensor:
    """log(p / (1 - p)) of p = e^mean."""
    sure_P = mean_logp_P.clamp(max=SURE)
    return sure_P - torch.log(-torch.expm1(sure_P))
