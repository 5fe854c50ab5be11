"""PPO's clipped surrogate, one ratio a token."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from overopt.config import block
from overopt.objectives.aggregation import Aggregation, aggregate
from overopt.objectives.contracts import PolicyLossProtocol
from overopt.objectives.policy_losses.ratios import Clip, ratio, surrogates
from overopt.types import PolicyUpdate


@block
class PPOClipToken(PolicyLossProtocol):
    """PPO's clipped surrogate with one ratio per token, as GRPO, DAPO and Dr. GRPO have it.

    Rows `[B]`, in units of the advantage. All tokens of a completion share its advantage. The aggregation tells the
    methods apart: `sequence_mean` GRPO, `token_mean` DAPO (with clip_high 0.28), `fixed_length` Dr. GRPO. TRL's `dapo`
    is the mean over the tokens of an accumulation window, which is a minibatch here.
    """

    config_name = "ppo_clip_token"
    formula = (
        "l_t = max(-A rho_t, -A clip(rho_t, 1 - clip, 1 + clip_high)), rho_t = pi_new(y_t) / pi_old(y_t); aggregated"
    )
    source = "Schulman et al. 2017 (arXiv 1707.06347), Eq. 7; Shao et al. 2024 (GRPO)"
    elsewhere: ClassVar[dict[str, Any]] = {
        "trl": {
            "trainer": "GRPOTrainer",
            "when": "aggregation != 'sequence_sum'",
            "loss_type": "{'sequence_mean': 'grpo', 'token_mean': 'dapo', 'fixed_length': 'dr_grpo'}[aggregation]",
            "importance_sampling_level": "'token'",
            "epsilon": "clip",
            "epsilon_high": "clip_high",
        },
        "openrlhf": "--actor.policy_loss_type ppo --actor.eps_clip_low_high clip clip_high",
        "verl": "actor: {policy_loss.loss_mode: vanilla, clip_ratio_low: clip, clip_ratio_high: clip_high, "
        "clip_ratio_c: a large number (dual clip off)}",
    }

    clip: Clip = 0.2
    clip_high: Clip | None = None
    """Upper side of the range; null: the same as `clip`."""
    aggregation: Aggregation = "token_mean"

    def __call__(self, update: PolicyUpdate) -> Tensor:
        return aggregate(torch.maximum(*self._terms(update)) * update.mask_BT, update, self.aggregation)

    def clipped(self, update: PolicyUpdate) -> Tensor:
        """Each row's share of tokens whose clipped term is the larger one; `[B]`."""
        plain_BT, clipped_BT = self._terms(update)
        return ((clipped_BT > plain_BT) & update.mask_BT).sum(1) / update.length_B.clamp(min=1)

    def _terms(self, update: PolicyUpdate) -> tuple[Tensor, Tensor]:
        return surrogates(update.advantage_B[:, None], ratio(update.log_ratio_BT), self.clip, self.clip_high)
