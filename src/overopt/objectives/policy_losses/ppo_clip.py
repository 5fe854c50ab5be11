"""PPO's clipped surrogate, one ratio a sequence."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from overopt.config import block
from overopt.objectives.contracts import PolicyLossProtocol
from overopt.objectives.policy_losses.ratios import Clip, ratio, surrogates
from overopt.types import PolicyUpdate


@block
class PPOClip(PolicyLossProtocol):
    """PPO's clipped surrogate with one ratio per sequence, as TRL's RLOOTrainer has it.

    Rows `[B]`, in units of the advantage. With one epoch and one minibatch rho = 1 and the gradient is exactly
    REINFORCE with the given advantage. Sequence ratios meet the clip much earlier than token ratios do: the sum of the
    tokens' log-ratios counts. `clip` is TRL's default; `clip_high` opens the upper side further (DAPO).
    """

    formula = "L_j = max(-A_j rho_j, -A_j clip(rho_j, 1 - clip, 1 + clip_high)), rho_j = pi_new(y_j) / pi_old(y_j)"
    source = "Schulman et al. 2017 (arXiv 1707.06347), Eq. 7; a ratio per sequence: TRL's RLOOTrainer"
    elsewhere: ClassVar[dict[str, Any]] = {
        "trl": {"trainer": "RLOOTrainer", "epsilon": "clip", "epsilon_high": "clip_high"},
    }

    clip: Clip = 0.2
    clip_high: Clip | None = None
    """Upper side of the range; null: the same as `clip`."""

    def __call__(self, update: PolicyUpdate) -> Tensor:
        return torch.maximum(*self._terms(update))

    def clipped(self, update: PolicyUpdate) -> Tensor:
        """Rows whose clipped term is the larger one, so that they carry no gradient; bool `[B]`."""
        plain_B, clipped_B = self._terms(update)
        return clipped_B > plain_B

    def _terms(self, update: PolicyUpdate) -> tuple[Tensor, Tensor]:
        ratio_B = ratio(update.logp_BT.sum(1) - update.old_logp_BT.sum(1))
        return surrogates(update.advantage_B, ratio_B, self.clip, self.clip_high)
