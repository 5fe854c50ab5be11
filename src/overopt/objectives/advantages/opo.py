"""OPO: the baseline of least variance, weighted by length."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from overopt.config import block
from overopt.objectives.contracts import AdvantageProtocol
from overopt.types import Rewards


@block
class OPO(AdvantageProtocol):
    """OPO: the baseline of a prompt is the mean of its rewards, each weighted by the completion's length.

    `[P, G]`, in units of the reward. The baseline of least variance weighs rewards by |grad log pi(y|x)|^2; if tokens'
    gradients are orthogonal and of like norm, that is |y|. The baseline contains the completion's own reward, as the
    group's mean does. With equal lengths it is the group mean.
    """

    config_name = "opo"
    minimum_samples = 2
    minimum_batch = 2
    formula = "A_j = R_j - sum_i |y_i| R_i / sum_i |y_i|"
    source = "Hao et al. 2025, On-Policy RL with Optimal Reward Baseline (arXiv 2505.23585)"
    elsewhere: ClassVar[dict[str, Any]] = {"verl": "algorithm.adv_estimator=opo"}

    def __call__(self, rewards: Rewards) -> Tensor:
        reward_PG, length_PG = rewards.reward_PG, rewards.length_PG.to(rewards.reward_PG.dtype)
        if reward_PG.shape[1] < 2:
            raise ValueError("OPO needs at least 2 completions per prompt")
        weight_PG = length_PG / length_PG.sum(1, keepdim=True).clamp(min=1)
        return reward_PG - (weight_PG * reward_PG).sum(1, keepdim=True)
