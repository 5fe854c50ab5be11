"""SimPO with a reward of another shape."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from overopt.config import block
from overopt.objectives.contracts import PreferenceLossProtocol
from overopt.types import PreferenceScores

LARGEST_EXPONENT = 80.0
"""Beyond it, e^x is no longer finite in single precision."""


@block
class AlphaPO(PreferenceLossProtocol):
    """SimPO with a bent reward: `alpha` changes its shape, from the logarithm (0) towards a power of the probability.

    p is the mean probability per token e^(l/|y|). Unlike SimPO's, alpha here is the shape (any sign; 0 is SimPO) and
    beta the scale. An exponent -alpha l/|y| above 80 counts as 80. Defaults are a published setting (gamma/beta 0.1).
    """

    config_name = "alpha_po"
    formula = (
        "L = -log sigma(beta r_w - beta r_l - gamma), r = (1 - p^-alpha)/alpha, p = e^(l/|y|); alpha = 0: r = l/|y|"
    )
    source = "Gupta et al. 2025, arXiv 2501.03884"
    elsewhere: ClassVar[dict[str, Any]] = {
        "trl": {
            "trainer": "CPOTrainer",
            "loss_type": "'simpo'",
            "alpha": "alpha",
            "beta": "beta",
            "simpo_gamma": "gamma",
            "cpo_alpha": "0.0",
        },
    }

    alpha: float = 0.25
    beta: Annotated[float, Field(gt=0)] = 2.5
    gamma: Annotated[float, Field(ge=0)] = 0.25

    def __call__(self, scores: PreferenceScores) -> Tensor:
        chosen_P, rejected_P = self.reward(scores)
        return -F.logsigmoid(chosen_P - rejected_P - self.gamma)

    def reward(self, scores: PreferenceScores) -> tuple[Tensor, Tensor]:
        """beta r of the chosen and the rejected completion."""
        return self.beta * self._shape(scores.chosen.mean_logp_P), self.beta * self._shape(scores.rejected.mean_logp_P)

    def _shape(self, mean_logp_P: Tensor) -> Tensor:
        if self.alpha == 0:
            return mean_logp_P
        return -torch.expm1((-self.alpha * mean_logp_P).clamp(max=LARGEST_EXPONENT)) / self.alpha
