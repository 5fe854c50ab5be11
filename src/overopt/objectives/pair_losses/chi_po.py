"""Chi-squared preference optimization."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from overopt.config import block
from overopt.objectives.contracts import PreferenceLossProtocol
from overopt.types import PreferenceScores


@block
class ChiPO(PreferenceLossProtocol):
    """Chi-squared preference optimization: DPO with z + log z in place of log z, which penalizes leaving the data.

    The implicit regularizer is KL plus chi-squared divergence. l is summed over tokens, nats. e^d is held at
    d <= `log_ratio_limit` (no gradient beyond from that term), and with `reward_range` R the margin is clipped to
    [-2R, 2R]. How the authors hold the exponential in practice is NOT verified: the limit is our choice. At
    initialization L = log 2. Default beta as DPO's.
    """

    config_name = "chi_po"
    formula = "L = -log sigma(clip[-2R, 2R](beta [phi(d_w) - phi(d_l)])), phi(d) = e^d + d, d = l - lref"
    source = "Huang et al. 2024, arXiv 2407.13399, Algorithm 1"
    elsewhere: ClassVar[dict[str, Any]] = {}
    needs = frozenset({"reference"})

    beta: Annotated[float, Field(gt=0)] = 0.05
    reward_range: Annotated[float, Field(gt=0)] | None = None
    """R, the largest reward; null: no clipping."""
    log_ratio_limit: Annotated[float, Field(gt=0, le=80)] = 20.0

    def __call__(self, scores: PreferenceScores) -> Tensor:
        chosen_P, rejected_P = self.reward(scores)
        margin_P = chosen_P - rejected_P
        if self.reward_range is not None:
            margin_P = margin_P.clamp(-2 * self.reward_range, 2 * self.reward_range)
        return -F.logsigmoid(margin_P)

    def reward(self, scores: PreferenceScores) -> tuple[Tensor, Tensor]:
        """beta phi(d) of the chosen and the rejected completion."""
        return self._reward(scores.chosen.log_ratio_P), self._reward(scores.rejected.log_ratio_P)

    def _reward(self, log_ratio_P: Tensor) -> Tensor:
        return self.beta * (log_ratio_P.clamp(max=self.log_ratio_limit).exp() + log_ratio_P)
