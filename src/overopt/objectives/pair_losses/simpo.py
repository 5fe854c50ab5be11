"""Simple preference optimization: maximum-entropy RL in closed form, offline."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from overopt.config import block
from overopt.objectives.contracts import PreferenceLossProtocol
from overopt.types import PreferenceScores


@block
class SimPO(PreferenceLossProtocol):
    """Simple preference optimization: the reward is the mean log-probability per token; no reference.

    The target gap of mean log-probabilities is gamma/alpha nats per token. In the authors' code alpha is `beta` and
    gamma is `beta * gamma_beta_ratio`; in TRL alpha is `beta` and gamma is `simpo_gamma`, and with TRL's default
    beta 0.1 a gamma of 0.5 asks for 5 nats per token. Defaults are the authors'. Which alpha Failure Modes of Maximum
    Entropy RLHF (2025) used is not known.
    """

    formula = "L = -log sigma(alpha l_w/|y_w| - alpha l_l/|y_l| - gamma)"
    source = "Meng et al. 2024, arXiv 2405.14734, Eq. 6"
    elsewhere: ClassVar[dict[str, Any]] = {
        "trl": {
            "trainer": "CPOTrainer",
            "loss_type": "'simpo'",
            "beta": "alpha",
            "simpo_gamma": "gamma",
            "cpo_alpha": "0.0",
        },
    }

    alpha: Annotated[float, Field(gt=0)] = 2.0
    gamma: Annotated[float, Field(ge=0)] = 0.5

    def __call__(self, scores: PreferenceScores) -> Tensor:
        chosen_P, rejected_P = self.reward(scores)
        return -F.logsigmoid(chosen_P - rejected_P - self.gamma)

    def reward(self, scores: PreferenceScores) -> tuple[Tensor, Tensor]:
        """alpha times the mean log-probability per token, of the chosen and the rejected completion."""
        chosen, rejected = scores.chosen, scores.rejected
        return self.alpha * chosen.logp_P / chosen.len_P, self.alpha * rejected.logp_P / rejected.len_P
