"""DPO for rankings."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from overopt.config import block
from overopt.objectives.contracts import PreferenceLossProtocol
from overopt.objectives.pair_losses.reference_rewards import reference_rewards
from overopt.objectives.plackett_luce import plackett_luce
from overopt.types import PreferenceScores


@block
class PlackettLuceDPO(PreferenceLossProtocol):
    """DPO of K ranked completions: the Plackett-Luce likelihood of the log-ratios to a reference.

    Sums over tokens, nats. K = 2 is DPO exactly; at initialization L = log K!. Default as DPO's.
    """

    formula = "L = -sum_{k<K} [s_k - log sum_{j>=k} e^{s_j}], s = beta (l - lref)"
    source = "Rafailov et al. 2023, arXiv 2305.18290, App. A.3"
    elsewhere: ClassVar[dict[str, Any]] = {}
    needs = frozenset({"reference"})
    takes = "rankings"

    beta: Annotated[float, Field(gt=0)] = 0.05

    def __call__(self, scores: PreferenceScores) -> Tensor:
        return plackett_luce(torch.stack([self.beta * s.log_ratio_P for s in scores.ranked], 1))

    def reward(self, scores: PreferenceScores) -> tuple[Tensor, Tensor]:
        """beta (l - lref), nats, of the best and the worst completion."""
        return reference_rewards(scores, self.beta)
