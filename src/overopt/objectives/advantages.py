"""Advantages: from the shaped rewards of groups of completions to one advantage per completion, `[P, G]`.

`contracts.AdvantageProtocol` says what an advantage must have. The union at the end is the registry.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from overopt.config import Choice, Positive, block
from overopt.objectives.contracts import AdvantageProtocol
from overopt.objectives.state import State
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

    def __call__(self, rewards: Rewards) -> Tensor:
        reward_PG = rewards.reward_PG
        siblings = reward_PG.shape[1] - 1
        if siblings < 1:
            raise ValueError("RLOO needs at least 2 completions per prompt")
        return reward_PG - (reward_PG.sum(1, keepdim=True) - reward_PG) / siblings


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

    def __call__(self, rewards: Rewards) -> Tensor:
        if rewards.reward_PG.shape[1] < 2:
            raise ValueError("GroupMean needs at least 2 completions per prompt")
        return rewards.reward_PG - rewards.reward_PG.mean(1, keepdim=True)


@block
class GroupNormalized(AdvantageProtocol):
    """Group normalized (GRPO): the mean reward of a prompt is subtracted, and its standard deviation divided by.

    `[P, G]`, without unit. std is the sample's, with G - 1 in the denominator. A prompt whose rewards are all equal has
    advantages 0: `eps` stands beside the standard deviation. Prompts with nearly equal rewards get more weight, so the
    expected gradient is not that of the mean reward. `eps` is TRL's; verl has 1e-6, OpenRLHF 1e-9.
    """

    config_name = "grpo"
    minimum_samples = 2
    minimum_batch = 2
    formula = "A_j = (R_j - mean_i R_i) / (std_i R_i + eps)"
    source = "Shao et al. 2024, DeepSeekMath (arXiv 2402.03300), section 4.1; eps: TRL"

    eps: Positive = 1e-4

    def __call__(self, rewards: Rewards) -> Tensor:
        reward_PG = rewards.reward_PG
        if reward_PG.shape[1] < 2:
            raise ValueError("GroupNormalized needs at least 2 completions per prompt")
        return (reward_PG - reward_PG.mean(1, keepdim=True)) / (reward_PG.std(1, keepdim=True) + self.eps)


@block
class RunningBaseline(AdvantageProtocol):
    """REINFORCE with a running baseline: an exponential mean of the rewards of earlier batches. One sample suffices.

    `[P, G]`, in units of the reward. The baseline never contains the batch it is subtracted from, so the gradient is
    unbiased; the baseline of the first batch is `initial` (0 suits a reward model whose scores are centered). Ahmadian
    et al. average over all earlier rewards; the exponential mean, which follows a changing policy, and its decay are
    our choice.
    """

    formula = "A_j = R_j - b;  then b <- decay b + (1 - decay) mean R"
    source = "Williams 1992; Ahmadian et al. 2024 (arXiv 2402.14740), REINFORCE with a moving average"

    decay: Annotated[float, Field(ge=0, lt=1)] = 0.9
    initial: float = 0.0

    def init(self) -> State:
        return {"baseline": self.initial}

    def __call__(self, rewards: Rewards, state: State) -> tuple[Tensor, State]:  # type: ignore[override]
        baseline = float(state["baseline"])
        moved = self.decay * baseline + (1.0 - self.decay) * float(rewards.reward_PG.mean())
        return rewards.reward_PG - baseline, {"baseline": moved}


@block
class ReinforcePP(AdvantageProtocol):
    """REINFORCE++: rewards whitened over the whole batch, whatever their prompts. One sample per prompt suffices.

    `[P, G]`, without unit. With `weight: token` a completion counts |y| times in mean and variance, as in the
    libraries, which whiten tokens. var is the sample's (with N - 1). A batch whose rewards are all equal has advantages
    0. The mean contains the completion's own reward, a bias of order 1/N. In the paper and the libraries the KL penalty
    is spread over the tokens; here it is a part of the completion's one reward (our choice).
    """

    config_name = "reinforce_pp"
    minimum_batch = 2
    formula = "A_j = (R_j - mean R) / sqrt(var R + eps), over all completions of the batch"
    source = "Hu 2025, REINFORCE++ (arXiv 2501.03262); eps and weight: verl"

    weight: Literal["token", "completion"] = "token"
    eps: Positive = 1e-8

    def __call__(self, rewards: Rewards) -> Tensor:
        reward_PG, length_PG = rewards.reward_PG, rewards.length_PG
        if reward_PG.numel() < 2:
            raise ValueError("ReinforcePP needs at least 2 completions in a batch")
        weight_PG = length_PG.to(reward_PG.dtype) if self.weight == "token" else torch.ones_like(reward_PG)
        total = weight_PG.sum().clamp(min=2)
        centered_PG = reward_PG - (weight_PG * reward_PG).sum() / total
        variance = (weight_PG * centered_PG.square()).sum() / (total - 1)
        return centered_PG * (variance + self.eps).rsqrt()


@block
class ReMax(AdvantageProtocol):
    """ReMax: the baseline of a prompt is the reward of its greedy completion. One sample suffices.

    `[P, G]`, in units of the reward. The baseline does not depend on the samples, so the gradient is unbiased. Needs a
    greedy completion of every prompt, scored and regularized as the samples are (its log-probabilities at the sampling
    temperature): one more completion per prompt. verl subtracts the greedy completion's score alone, without penalties.
    """

    config_name = "remax"
    needs = frozenset({"greedy"})
    formula = "A_j = R_j - R(y_greedy)"
    source = "Li et al. 2023, ReMax (arXiv 2310.10505)"

    def __call__(self, rewards: Rewards) -> Tensor:
        if rewards.greedy_P is None:
            raise ValueError("ReMax needs the rewards of greedy completions")
        return rewards.reward_PG - rewards.greedy_P[:, None]


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

    def __call__(self, rewards: Rewards) -> Tensor:
        reward_PG, length_PG = rewards.reward_PG, rewards.length_PG.to(rewards.reward_PG.dtype)
        if reward_PG.shape[1] < 2:
            raise ValueError("OPO needs at least 2 completions per prompt")
        weight_PG = length_PG / length_PG.sum(1, keepdim=True).clamp(min=1)
        return reward_PG - (weight_PG * reward_PG).sum(1, keepdim=True)


Advantage = Annotated[
    RLOO | GroupMean | GroupNormalized | RunningBaseline | ReinforcePP | ReMax | OPO, Choice(AdvantageProtocol)
]
