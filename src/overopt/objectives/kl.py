"""Estimators of KL(pi || mu) from log-ratios of samples, and the KL between two consecutive policies.

With y ~ pi and d = log pi(y) - log mu(y) (Schulman, "Approximating KL divergence", 2020):
k1 = d (unbiased, any sign), k2 = d^2/2 (biased, >= 0), k3 = exp(-d) - 1 + d (unbiased, >= 0). Nats per sequence.
"""

from __future__ import annotations

import torch
from torch import Tensor

MAX_LOG_RATIO = 20.0
"""Log-ratios are clamped to [-20, 20] before they are exponentiated."""


def k2(log_ratio: Tensor) -> Tensor:
    """d^2 / 2, elementwise."""
    return log_ratio.square() / 2


def k3(log_ratio: Tensor) -> Tensor:
    """exp(-d) - 1 + d, elementwise."""
    d = log_ratio.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
    return torch.expm1(-d) + d


def consecutive_kl(new_logp_B: Tensor, old_logp_B: Tensor) -> tuple[Tensor, Tensor]:
    """KL(pi_t || pi_{t-1}) and KL(pi_{t-1} || pi_t), nats per sequence, from sequences sampled from pi_{t-1}.

    With d = log pi_t(y) - log pi_{t-1}(y): mean[exp(d) d - exp(d) + 1] and mean[exp(d) - 1 - d]. Both are
    non-negative and close to mean[d^2]/2 for small steps.
    """
    d = (new_logp_B - old_logp_B).double().clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
    ratio = d.exp()
    return (ratio * d - torch.expm1(d)).mean(), k3(-d).mean()
