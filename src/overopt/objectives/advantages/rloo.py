"""REINFORCE leave-one-out."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from overopt.config import block
from overopt.objectives.contracts import AdvantageProtocol
from overopt.types import Rewards


@block
class RLOO(AdvantageProtocol):
    """REINFORCE leave-one-out: the baseline of a completion is the mean reward of its siblings.

    Rewards `[P, G]` in, advantages `[P, G]` out, in units of the reward. Advantages of a prompt sum to 0, and a shift
    of all its rewards changes nothing. The baseline does not contain the completion's own reward, so the gradient is
    unbiased. TRL has it in RLOOTrainer, before its optional `normalize_advantages`.
    """

    minimum_samples = 2
    minimum_batch = 2
    formula = "A_j = R_j - sum_{i != j} R_i / (G - 1) = G/(G-1) (R_j - mean_i R_i)"
    source = "Kool et al. 2019; Ahmadian et al. 2024, Back to Basics (arXiv 2402.14740)"
    elsewhere: ClassVar[dict[str, Any]] = {
        "trl": {"trainer": "RLOOTrainer", "normalize_advantages": "False"},
        "openrlhf": "--algo.advantage.estimator rloo",
        "verl": "algorithm.adv_estimator=rloo",
    }

    def __call__(self, rewards: Rewards) -> Tensor:
        reward_PG = rewards.reward_PG
        siblings = reward_PG.shape[1] - 1
        if siblings < 1:
            raise ValueError("RLOO needs at least 2 completions per prompt")
        return reward_PG - (reward_PG.sum(1, keepdim=True) - reward_PG) / siblings
