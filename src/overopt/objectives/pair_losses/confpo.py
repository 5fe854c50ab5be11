"""SimPO on low-confidence tokens."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from overopt.config import block
from overopt.objectives.contracts import PreferenceLossProtocol
from overopt.types import PreferenceScores, Scored


@block
class ConfPO(PreferenceLossProtocol):
    """SimPO on the tokens that matter: those less likely than the completion's mean token probability.

    The choice of tokens has no gradient. A pair of which a completion keeps no token (all equally likely, or only one)
    has loss 0 and counts in the mean, as in the authors' code. Defaults are the authors'.
    """

    config_name = "confpo"
    formula = (
        "L = -log sigma(beta m_w - beta m_l - gamma), m = the mean of log pi(y_t) over tokens t with "
        "pi(y_t) < mean_t pi(y_t)"
    )
    source = "Yoon et al. 2025, arXiv 2506.08712"
    elsewhere: ClassVar[dict[str, Any]] = {}

    beta: Annotated[float, Field(gt=0)] = 1.5
    gamma: Annotated[float, Field(ge=0)] = 1.6

    def __call__(self, scores: PreferenceScores) -> Tensor:
        chosen_P, rejected_P = self.reward(scores)
        loss_P = -F.logsigmoid(chosen_P - rejected_P - self.gamma)
        usable_P = _kept(scores.chosen).any(1) & _kept(scores.rejected).any(1)
        return torch.where(usable_P, loss_P, 0.0)

    def reward(self, scores: PreferenceScores) -> tuple[Tensor, Tensor]:
        """beta times the mean log-probability of the kept tokens (0 if there is none)."""
        return self.beta * _kept_mean(scores.chosen), self.beta * _kept_mean(scores.rejected)


def _kept(scored: Scored) -> Tensor:
    """Which tokens are less likely than their completion's mean token, `[P, T]`."""
    probability_PT = scored.logp_PT.detach().exp() * scored.mask_PT
    mean_P = probability_PT.sum(1) / scored.len_P
    return scored.mask_PT & (probability_PT < mean_P[:, None])


def _kept_mean(scored: Scored) -> Tensor:
    kept_PT = _kept(scored)
    return (scored.logp_PT * kept_PT).sum(1) / kept_PT.sum(1).clamp(min=1)
