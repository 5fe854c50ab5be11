"""ReMax: the greedy completion's reward as a baseline."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from overopt.config import block
from overopt.objectives.contracts import AdvantageProtocol
from overopt.types import Rewards


@block
class ReMax(AdvantageProtocol):
    """ReMax: the baseline of a prompt is the reward of its greedy completion. One sample will do.

    `[P, G]`, in units of the reward. The baseline does not depend on the samples, so the gradient is unbiased. Needs a
    greedy completion of every prompt, scored and regularized as the samples are (its log-probabilities at the sampling
    temperature): one more completion a prompt. verl subtracts the greedy completion's score alone, without penalties.
    """

    config_name = "remax"
    needs = frozenset({"greedy"})
    formula = "A_j = R_j - R(y_greedy)"
    source = "Li et al. 2023, ReMax (arXiv 2310.10505)"
    elsewhere: ClassVar[dict[str, Any]] = {"verl": "algorithm.adv_estimator=remax"}

    def __call__(self, rewards: Rewards) -> Tensor:
        if rewards.greedy_P is None:
            raise ValueError("ReMax needs the rewards of greedy completions")
        return rewards.reward_PG - rewards.greedy_P[:, None]
