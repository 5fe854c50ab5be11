"""Truncated importance sampling: completions that one engine sampled, weighted for the policy that another computes."""

from __future__ import annotations

import math

from torch import Tensor

from overopt.config import Positive, block


@block
class TruncatedImportance:
    """Weights each completion's loss by min(pi_old(y|x) / mu(y|x), cap); mu is the policy as the server computes it.

    Without the cap the weighted mean over samples of mu is the mean over samples of pi_old; the cap bounds its variance
    at the price of a bias. pi_old is the policy as the trainer computes it, before the update.
    """

    config_name = "truncated"
    formula = "w = min(exp(sum_t log pi_old(y_t) - log mu(y_t)), cap)"
    source = "Yao et al. 2025 (truncated importance sampling), per sequence, as the ratio of this stage's losses"

    cap: Positive = 2.0

    def __call__(self, log_ratio_B: Tensor) -> Tensor:
        """Return the weights `[B]` for log pi_old(y|x) - log mu(y|x), nats per sequence."""
        return log_ratio_B.clamp(max=math.log(self.cap)).exp()
