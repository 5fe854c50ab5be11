"""Losses of the policy update: from new and old log-probabilities and advantages to one loss per row."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from overopt.config import Choice, block
from overopt.types import PolicyUpdate

Positive = Annotated[float, Field(gt=0)]
MAX_LOG_RATIO = 80.0
"""exp of more overflows in float32, and a clipped row's gradient would be 0 times infinity."""


@block
class PPOClip:
    """PPO's clipped surrogate with one ratio per sequence, as TRL's old RLOOTrainer has it.

    rho_j = exp(log pi_new(y_j) - log pi_old(y_j));  L_j = max(-A_j rho_j, -A_j clip(rho_j, 1-eps, 1+eps))

    With one epoch and one minibatch rho = 1 and the gradient is exactly REINFORCE with the given advantage.
    """

    needs: ClassVar[frozenset[str]] = frozenset()

    clip: Positive = 0.2

    def __call__(self, update: PolicyUpdate) -> Tensor:
        plain_B, clipped_B = self._terms(update)
        return torch.maximum(plain_B, clipped_B)

    def clipped(self, update: PolicyUpdate) -> Tensor:
        """Rows whose clipped term is the larger one, so that they carry no gradient; bool `[B]`."""
        plain_B, clipped_B = self._terms(update)
        return clipped_B > plain_B

    def _terms(self, update: PolicyUpdate) -> tuple[Tensor, Tensor]:
        log_ratio_B = update.logp_BT.sum(1) - update.old_logp_BT.sum(1)
        ratio_B = log_ratio_B.clamp(max=MAX_LOG_RATIO).exp()
        advantage_B = update.advantage_B
        return -advantage_B * ratio_B, -advantage_B * ratio_B.clamp(1 - self.clip, 1 + self.clip)


@block
class LCO:
    """Logit-space distillation of the advantage over the whole vocabulary (after the authors' code).

    A_hat(a) = A (1 - pi_old(a)) for the sampled token a;  A_hat(b) = -pi_old(b) A / max(1 - pi_old(a), 0.1) else
    q proportional to pi_old exp(A_hat / beta);  L_j = sum_t KL(q_t || pi_new,t)

    beta is `beta_positive` where A > 0 and `beta_negative` where A <= 0. Needs dense logits, old and new.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"logits"})

    beta_positive: Positive = 0.1
    beta_negative: Positive = 10.0

    def __call__(self, update: PolicyUpdate) -> Tensor:
        assert update.logits_MV is not None and update.old_logits_MV is not None and update.token_M is not None
        row_M = update.mask_BT.nonzero()[:, 0]
        target_MV = self._target(update.old_logits_MV, update.token_M, update.advantage_B[row_M])
        kl_M = (target_MV.exp() * (target_MV - update.logits_MV.log_softmax(-1))).sum(-1)
        return torch.zeros_like(update.advantage_B).index_add(0, row_M, kl_M)

    def clipped(self, update: PolicyUpdate) -> None:
        """This loss clips nothing."""

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


PolicyLoss = Annotated[PPOClip | LCO, Choice()]
