"""GRPO's advantage: the group's mean and standard deviation."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field
from torch import Tensor

from overopt.config import block
from overopt.objectives.contracts import AdvantageProtocol
from overopt.types import Rewards


@block
class GroupNormalized(AdvantageProtocol):
    """Group normalized (GRPO): the mean reward of a prompt is subtracted, and its standard deviation divided by.

    `[P, G]`, without unit. std is the sample's, with G - 1 in the denominator. A prompt whose rewards are all equal has
    advantages 0: `eps` stands beside the standard deviation. Weighs prompts with near-equal rewards up, so the expected
    gradient is not that of the mean reward. `eps` is TRL's; verl has 1e-6, OpenRLHF 1e-9.
    """

    config_name = "grpo"
    minimum_samples = 2
    minimum_batch = 2
    formula = "A_j = (R_j - mean_i R_i) / (std_i R_i + eps)"
    source = "Shao et al. 2024, DeepSeekMath (arXiv 2402.03300), section 4.1; eps: TRL"
    elsewhere: ClassVar[dict[str, Any]] = {
        "trl": {"trainer": "GRPOTrainer", "scale_rewards": "'group'", "when": "eps == 1e-4"},
        "openrlhf": "--algo.advantage.estimator group_norm (eps 1e-9)",
        "verl": "algorithm: {adv_estimator: grpo, norm_adv_by_std_in_grpo: true} (eps 1e-6)",
    }

    eps: Annotated[float, Field(gt=0)] = 1e-4

    def __call__(self, rewards: Rewards) -> Tensor:
        reward_PG = rewards.reward_PG
        if reward_PG.shape[1] < 2:
            raise ValueError("GroupNormalized needs at least 2 completions per prompt")
        return (reward_PG - reward_PG.mean(1, keepdim=True)) / (reward_PG.std(1, keepdim=True) + self.eps)
