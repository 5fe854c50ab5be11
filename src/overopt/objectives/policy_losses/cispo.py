"""CISPO: REINFORCE with a clipped importance weight."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator
from torch import Tensor

from overopt.config import block
from overopt.objectives.aggregation import Aggregation, aggregate
from overopt.objectives.contracts import PolicyLossProtocol
from overopt.objectives.policy_losses.ratios import ratio
from overopt.types import PolicyUpdate


@block
class CISPO(PolicyLossProtocol):
    """CISPO: each token's REINFORCE term, weighed by its clipped ratio, which carries no gradient.

    Rows `[B]`. No token is silenced: where PPO's clip stops the gradient, CISPO only bounds its weight. The bounds are
    of the ratio itself; 5 is TRL's suggestion (ScaleRL), and no lower bound is the paper's choice.
    """

    config_name = "cispo"
    formula = "l_t = -sg[clip(rho_t, minimum, maximum)] A log pi_new(y_t); aggregated"
    source = "MiniMax 2025, MiniMax-M1 (arXiv 2506.13585); maximum: ScaleRL (arXiv 2510.13786)"
    elsewhere: ClassVar[dict[str, Any]] = {
        "trl": {
            "trainer": "GRPOTrainer",
            "loss_type": "'cispo'",
            "epsilon_high": "maximum",
            "when": "minimum == 0 and aggregation == 'token_mean'",
        },
        "verl": "actor: {policy_loss.loss_mode: cispo, clip_ratio_low: 1 - minimum, clip_ratio_high: maximum - 1}",
    }

    maximum: Annotated[float, Field(gt=0)] = 5.0
    minimum: Annotated[float, Field(ge=0)] = 0.0
    aggregation: Aggregation = "token_mean"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.minimum > self.maximum:
            raise ValueError(f"minimum: {self.minimum} is above maximum {self.maximum}")
        return self

    def __call__(self, update: PolicyUpdate) -> Tensor:
        weight_BT = ratio(update.log_ratio_BT.detach()).clamp(self.minimum, self.maximum)
        return aggregate(-weight_BT * update.advantage_B[:, None] * update.logp_BT, update, self.aggregation)

    def clipped(self, update: PolicyUpdate) -> Tensor:
        """Each row's share of tokens whose weight is cut; `[B]`."""
        ratio_BT = ratio(update.log_ratio_BT)
        cut_BT = (ratio_BT < self.minimum) | (ratio_BT > self.maximum)
        return (cut_BT & update.mask_BT).sum(1) / update.length_B.clamp(min=1)
