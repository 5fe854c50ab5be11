"""REINFORCE++: advantages whitened over the batch."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from overopt.config import block
from overopt.objectives.contracts import AdvantageProtocol
from overopt.types import Rewards


@block
class ReinforcePP(AdvantageProtocol):
    """REINFORCE++: rewards whitened over the whole batch, whatever their prompts. One sample a prompt will do.

    `[P, G]`, without unit. With `weight: token` a completion counts |y| times in mean and variance, as in the
    libraries, which whiten tokens. var is the sample's (with N - 1). A batch whose rewards are all equal has advantages
    0. The mean contains the completion's own reward, a bias of order 1/N. In the paper and the libraries the KL penalty
    is spread over the tokens; here it is a part of the completion's one reward (our choice).
    """

    config_name = "reinforce_pp"
    minimum_batch = 2
    formula = "A_j = (R_j - mean R) / sqrt(var R + eps), over all completions of the batch"
    source = "Hu 2025, REINFORCE++ (arXiv 2501.03262); eps and weight: verl"
    elsewhere: ClassVar[dict[str, Any]] = {
        "openrlhf": "--algo.advantage.estimator reinforce (var with N, at least 1e-8)",
        "verl": "algorithm.adv_estimator=reinforce_plus_plus",
    }

    weight: Literal["token", "completion"] = "token"
    eps: Annotated[float, Field(gt=0)] = 1e-8

    def __call__(self, rewards: Rewards) -> Tensor:
        reward_PG, length_PG = rewards.reward_PG, rewards.length_PG
        if reward_PG.numel() < 2:
            raise ValueError("ReinforcePP needs at least 2 completions in a batch")
        weight_PG = length_PG.to(reward_PG.dtype) if self.weight == "token" else torch.ones_like(reward_PG)
        total = weight_PG.sum().clamp(min=2)
        centered_PG = reward_PG - (weight_PG * reward_PG).sum() / total
        variance = (weight_PG * centered_PG.square()).sum() / (total - 1)
        return centered_PG * (variance + self.eps).rsqrt()
