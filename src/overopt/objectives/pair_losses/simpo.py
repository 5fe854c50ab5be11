"""Simple preference optimization: maximum-entropy RL in closed form, offline."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from overopt.config import block
from overopt.types import PairScores


@block
class SimPO:
    """L = -log sigma(alpha l_w/|y_w| - alpha l_l/|y_l| - gamma) (Meng et al. 2024).

    The target gap of mean log-probabilities is gamma/alpha nats per token. In the authors' code alpha is `beta` and
    gamma is `beta * gamma_beta_ratio`; in TRL alpha is `beta` and gamma is `simpo_gamma`. No reference.
    """

    needs: ClassVar[frozenset[str]] = frozenset()
    separable: ClassVar[bool] = True

    alpha: Annotated[float, Field(gt=0)] = 2.0
    gamma: Annotated[float, Field(ge=0)] = 0.5

    def __call__(self, scores: PairScores) -> Tensor:
        chosen_P, rejected_P = self.reward(scores)
        return -F.logsigmoid(chosen_P - rejected_P - self.gamma)

    def reward(self, scores: PairScores) -> tuple[Tensor, Tensor]:
        """alpha times the mean log-probability per token, of the chosen and the rejected completion."""
        return (
            self.alpha * scores.chosen_logp_P / scores.chosen_len_P,
            self.alpha * scores.rejected_logp_P / scores.rejected_len_P,
        )
