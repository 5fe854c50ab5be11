"""Losses of the reward model."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def bradley_terry(chosen_score_P: Tensor, rejected_score_P: Tensor) -> Tensor:
    """-log sigma(r(x, y_w) - r(x, y_l)) per pair: the negative log-likelihood of the Bradley-Terry model."""
    return -F.logsigmoid(chosen_score_P - rejected_score_P)
