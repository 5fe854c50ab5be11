"""From the shaped rewards of a group of completions to their advantages."""

from __future__ import annotations

from typing import Annotated, ClassVar

from torch import Tensor

from overopt.config import Choice, block


@block
class RLOO:
    """REINFORCE leave-one-out: the baseline of a completion is the mean reward of its siblings.

    A_j = R_j - sum_{i != j} R_i / (G - 1) = G/(G-1) (R_j - mean_i R_i)

    Source: Ahmadian et al. 2024, "Back to Basics"; TRL's RLOOTrainer. Rewards `[P, G]` in, advantages `[P, G]` out,
    in units of the reward. Advantages of a prompt sum to 0, and a shift of all its rewards changes nothing.
    """

    minimum_samples: ClassVar[int] = 2

    def __call__(self, reward_PG: Tensor) -> Tensor:
        siblings = reward_PG.shape[1] - 1
        if siblings < 1:
            raise ValueError("RLOO needs at least 2 completions per prompt")
        return reward_PG - (reward_PG.sum(1, keepdim=True) - reward_PG) / siblings


Advantage = Annotated[RLOO, Choice()]
