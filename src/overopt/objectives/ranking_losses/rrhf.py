"""Rank responses to align with human feedback."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from overopt.config import block
from overopt.objectives.contracts import PreferenceLossProtocol
from overopt.objectives.pair_losses.nll import token_mean_nll
from overopt.types import PreferenceScores, Scored


@block
class RRHF(PreferenceLossProtocol):
    """RRHF: every completion that is more likely than a better one costs the difference; and imitation of the best.

    Likelihood is per token to the power `length_power` of the length (1: nats per token). The imitation term is the
    token mean of the batch. Defaults are the authors'. A pair that is already in order has no ranking term.
    """

    formula = (
        "L = sum_{i better than j} max(0, p_j - p_i) + sft_weight NLL(y_1), p = l/|y|^length_power, "
        "NLL the mean over the batch's best completions' tokens"
    )
    source = "Yuan et al. 2023, arXiv 2304.05302"
    elsewhere: ClassVar[dict[str, Any]] = {}
    takes = "rankings"

    length_power: Annotated[float, Field(ge=0)] = 1.0
    sft_weight: Annotated[float, Field(ge=0)] = 1.0

    def __call__(self, scores: PreferenceScores) -> Tensor:
        reward_PK = torch.stack([self._reward(s) for s in scores.ranked], 1)
        better, worse = torch.triu_indices(reward_PK.shape[1], reward_PK.shape[1], offset=1, device=reward_PK.device)
        disorder_P = (reward_PK[:, worse] - reward_PK[:, better]).clamp(min=0).sum(1)
        return disorder_P + self.sft_weight * token_mean_nll(scores)

    def reward(self, scores: PreferenceScores) -> tuple[Tensor, Tensor]:
        """l/|y|^length_power of the best and the worst completion."""
        return self._reward(scores.chosen), self._reward(scores.rejected)

    def _reward(self, scored: Scored) -> Tensor:
        return scored.logp_P / scored.len_P**self.length_power
