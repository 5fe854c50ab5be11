"""GSPO: a clipped, length-normalized ratio a sequence."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from overopt.config import block
from overopt.objectives.contracts import PolicyLossProtocol
from overopt.objectives.policy_losses.ratios import Clip, ratio, surrogates
from overopt.types import PolicyUpdate


@block
class GSPO(PolicyLossProtocol):
    """GSPO: PPO's clipped surrogate with the geometric mean of the token ratios as the ratio of a sequence.

    Rows `[B]`, in units of the advantage. s is near 1 even for long completions, so the clip range is small; its
    defaults are the paper's (section 5.1). On-policy the gradient is A grad log pi(y|x) / |y|: long completions count
    less, as with GRPO's `sequence_mean`.
    """

    config_name = "gspo"
    formula = (
        "L_j = max(-A_j s_j, -A_j clip(s_j, 1 - clip, 1 + clip_high)), s_j = (pi_new(y_j) / pi_old(y_j))^(1/|y_j|)"
    )
    source = "Zheng et al. 2025, GSPO (arXiv 2507.18071), section 4"
    elsewhere: ClassVar[dict[str, Any]] = {
        "trl": {
            "trainer": "GRPOTrainer",
            "loss_type": "'grpo'",
            "importance_sampling_level": "'sequence'",
            "epsilon": "clip",
            "epsilon_high": "clip_high",
        },
        "openrlhf": "--actor.policy_loss_type gspo --actor.eps_clip_low_high clip clip_high",
        "verl": "actor: {policy_loss.loss_mode: gspo, loss_agg_mode: seq-mean-token-mean, clip_ratio_low: clip, "
        "clip_ratio_high: clip_high}",
    }

    clip: Clip = 3e-4
    clip_high: Clip | None = 4e-4
    """Upper side of the range; null: the same as `clip`."""

    def __call__(self, update: PolicyUpdate) -> Tensor:
        return torch.maximum(*self._terms(update))

    def clipped(self, update: PolicyUpdate) -> Tensor:
        """Rows whose clipped term is the larger one, so that they carry no gradient; bool `[B]`."""
        plain_B, clipped_B = self._terms(update)
        return clipped_B > plain_B

    def _terms(self, update: PolicyUpdate) -> tuple[Tensor, Tensor]:
        ratio_B = ratio(update.log_ratio_BT.sum(1) / update.length_B.clamp(min=1))
        return surrogates(update.advantage_B, ratio_B, self.clip, self.clip_high)
