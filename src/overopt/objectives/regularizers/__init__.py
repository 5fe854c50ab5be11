"""Regularizers, typed by where they act: in the reward (detached) or in the loss (differentiable).

The place decides which objective the gradient minimizes. With d = log pi(y|x) - log pi_ref(y|x), completions from the
policy itself and exact expectations:

| estimator of KL(pi || ref) | in     | what its gradient minimizes      |
|----------------------------|--------|----------------------------------|
| k1 = d                     | reward | KL(pi || ref)                    |
| k1 = d                     | loss   | nothing: the mean gradient is 0  |
| k2 = d^2/2                 | loss   | KL(pi || ref)                    |
| k3 = exp(-d) - 1 + d       | loss   | KL(ref || pi), the other one     |

Therefore the two kinds are two unions, and a configuration lists each under its own key.
"""

from __future__ import annotations

from typing import Annotated

from overopt.config import Choice
from overopt.objectives.contracts import LossRegularizerProtocol, RewardRegularizerProtocol
from overopt.objectives.regularizers.loss import K1, K2, K3, TokenEntropy, TokenKLForward, TokenKLReverse
from overopt.objectives.regularizers.reward import KL, EntropyLengthNormalized, EntropySum

RewardRegularizer = Annotated[KL | EntropySum | EntropyLengthNormalized, Choice(RewardRegularizerProtocol)]
LossRegularizer = Annotated[
    K1 | K2 | K3 | TokenKLReverse | TokenKLForward | TokenEntropy, Choice(LossRegularizerProtocol)
]

__all__ = [
    "K1",
    "K2",
    "K3",
    "KL",
    "EntropyLengthNormalized",
    "EntropySum",
    "LossRegularizer",
    "RewardRegularizer",
    "TokenEntropy",
    "TokenKLForward",
    "TokenKLReverse",
]
