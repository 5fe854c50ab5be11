"""SimPO for rankings: maximum-entropy RL in closed form under the Plackett-Luce model."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from overopt.config import block
from overopt.objectives.contracts import PreferenceLossProtocol
from overopt.objectives.plackett_luce import plackett_luce
from overopt.types import PreferenceScores, Scored


@block
class PlackettLuceSimPO(PreferenceLossProtocol):
    """SimPO of K ranked completions: the Plackett-Luce likelihood of alpha log pi, per token or summed.

    The paper derives the sum form without margin; the mean per token and the margin between a completion and each one
    below it are our choice, such that K = 2 is SimPO exactly. Adding f(x) to all rewards of a prompt changes nothing.
    Defaults are SimPO's.
    """

    formula = "L = -sum_{k<K} [s_k - log(e^{s_k} + sum_{j>k} e^{s_j + gamma})], s = alpha l/|y| (mean) or alpha l (sum)"
    source = "Failure Modes of Maximum Entropy RLHF 2025, arXiv 2509.20265, App. C.3 (sum, gamma = 0)"
    elsewhere: ClassVar[dict[str, Any]] = {}
    takes = "rankings"

    alpha: Annotated[float, Field(gt=0)] = 2.0
    gamma: Annotated[float, Field(ge=0)] = 0.5
    length: Literal["mean", "sum"] = "mean"

    def __call__(self, scores: PreferenceScores) -> Tensor:
        return plackett_luce(torch.stack([self._reward(s) for s in scores.ranked], 1), self.gamma)

    def reward(self, scores: PreferenceScores) -> tuple[Tensor, Tensor]:
        """alpha times the log-probability, per token or summed, of the best and the worst completion."""
        return self._reward(scores.chosen), self._reward(scores.rejected)

    def _reward(self, scored: Scored) -> Tensor:
        return self.alpha * (scored.mean_logp_P if self.length == "mean" else scored.logp_P)
