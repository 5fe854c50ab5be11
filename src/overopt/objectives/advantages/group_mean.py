"""The group's mean as a baseline."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from overopt.config import block
from overopt.objectives.contracts import AdvantageProtocol
from overopt.types import Rewards


@block
class GroupMean(AdvantageProtocol):
    """Group mean: the baseline of a completion is the mean reward of its prompt's completions, its own included.

    `[P, G]`, in units of the reward. It is (G-1)/G times RLOO's advantage, so the direction is the same: Dr. GRPO's
    choice, which leaves out GRPO's division by the group's standard deviation.
    """

    minimum_samples = 2
    minimum_batch = 2
    formula = "A_j = R_j - mean_i R_i"
    source = "Liu et al. 2025, Dr. GRPO (arXiv 2503.20783)"
    elsewhere: ClassVar[dict[str, Any]] = {
        "trl": {"trainer": "GRPOTrainer", "scale_rewards": "'none'"},
        "openrlhf": "--algo.advantage.estimator dr_grpo",
        "verl": "algorithm: {adv_estimator: grpo, norm_adv_by_std_in_grpo: false}",
    }

    def __call__(self, rewards: Rewards) -> Tensor:
        if rewards.reward_PG.shape[1] < 2:
            raise ValueError("GroupMean needs at least 2 completions per prompt")
        return rewards.reward_PG - rewards.reward_PG.mean(1, keepdim=True)
