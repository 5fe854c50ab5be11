"""LCO: distillation of the advantage over the whole vocabulary."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from overopt.config import block
from overopt.objectives.aggregation import Aggregation, aggregate
from overopt.objectives.contracts import PolicyLossProtocol
from overopt.types import Logits, PolicyUpdate

Positive = Annotated[float, Field(gt=0)]


@block
class LCO(PolicyLossProtocol):
    """Logit-space distillation of the advantage over the whole vocabulary (after the authors' code).

    Rows `[B]`, nats. A_hat(a) = A (1 - pi_old(a)) for the sampled token a, A_hat(b) = -pi_old(b) A /
    max(1 - pi_old(a), 0.1) for the others; q proportional to pi_old exp(A_hat / beta), where beta is `beta_positive` if
    A > 0 and `beta_negative` if A <= 0 (the code's defaults). Needs dense logits, old and new, which exist for a chunk
    of tokens at a time. The paper's own text was not seen.
    """

    config_name = "lco"
    needs = frozenset({"logits", "old_logits"})
    formula = "L_j = sum_t KL(q_t || pi_new,t), q_t proportional to pi_old,t exp(A_hat_t / beta)"
    source = "the authors' code"
    elsewhere: ClassVar[dict[str, Any]] = {}

    beta_positive: Positive = 0.1
    beta_negative: Positive = 10.0
    aggregation: Aggregation = "sequence_sum"

    def __call__(self, update: PolicyUpdate) -> Tensor:
        def divergence(logits: Logits) -> Tensor:
            assert logits.old_MV is not None
            target_MV = self._target(logits.old_MV, logits.token_M, update.advantage_B[logits.row_M])
            return (target_MV.exp() * (target_MV - logits.new_MV.log_softmax(-1))).sum(-1)

        return aggregate(update.per_token(divergence), update, self.aggregation)

    def _target(self, old_logits_MV: Tensor, token_M: Tensor, advantage_M: Tensor) -> Tensor:
        """log q, detached."""
        with torch.no_grad():
            old_MV = old_logits_MV.log_softmax(-1)
            probability_MV = old_MV.exp()
            sampled_M1 = probability_MV.gather(1, token_M[:, None])
            advantage_M1 = advantage_M[:, None]
            shift_MV = -probability_MV * advantage_M1 / (1 - sampled_M1).clamp(min=0.1)
            shift_MV.scatter_(1, token_M[:, None], advantage_M1 * (1 - sampled_M1))
            beta_M1 = torch.where(advantage_M1 > 0, self.beta_positive, self.beta_negative)
            return (old_MV + shift_MV / beta_M1).log_softmax(-1)
