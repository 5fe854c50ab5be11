"""Direct preference optimization."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from overopt.config import block
from overopt.objectives.pair_losses.reference_rewards import reference_rewards
from overopt.types import PairScores


@block
class DPO:
    """L = -log sigma(beta [(l_w - lref_w) - (l_l - lref_l)]), l summed over tokens (Rafailov et al. 2023).

    At initialization, where the policy is the reference, L = log 2. beta 0.05 is the paper's.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"reference"})
    separable: ClassVar[bool] = True

    beta: Annotated[float, Field(gt=0)] = 0.05

    def __call__(self, scores: PairScores) -> Tensor:
        chosen_P, rejected_P = self.reward(scores)
        return -F.logsigmoid(chosen_P - rejected_P)

    def reward(self, scores: PairScores) -> tuple[Tensor, Tensor]:
        """beta (l - lref), nats, of the chosen and the rejected completion."""
        return reference_rewards(scores, self.beta)
