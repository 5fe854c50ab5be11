"""Regularizers that act in the reward: detached, sampled, added to the score of a completion.

Each is called with the coefficient in force, so that a controller may move it. A regularizer in the *loss*
(differentiable) would be another type: k1 in the reward descends KL(pi || ref), k1 in the loss descends nothing.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor

from overopt.config import Choice, block
from overopt.objectives.controllers import AdaptiveKL
from overopt.types import Rollouts

NonNegative = Annotated[float, Field(ge=0)]


@block
class KL:
    """KL(pi || ref) by the k1 estimator: -coef (log pi(y|x) - log pi_ref(y|x)). Nats per sequence.

    On-policy expected gradient: that of -coef KL(pi || ref). Needs the reference.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"reference"})

    coef: Annotated[NonNegative | AdaptiveKL, Choice()] = 0.05

    def __call__(self, rollouts: Rollouts, coef: float) -> Tensor:
        return -coef * rollouts.sequence_kl_B.detach()


@block
class EntropySum:
    """Entropy of the sequence, Eq. 6: -coef log pi(y|x); nats per sequence. coef < 0 minimizes entropy.

    In expectation coef H[pi(.|x)], and the detached gradient is unbiased for it.
    """

    needs: ClassVar[frozenset[str]] = frozenset()

    coef: float = 0.01

    def __call__(self, rollouts: Rollouts, coef: float) -> Tensor:
        return -coef * rollouts.sequence_logp_B.detach()


@block
class EntropyLengthNormalized:
    """Length-normalized entropy, Eq. 7: -(coef/|y|) log pi(y|x); nats per token. coef < 0 is MinEnt.

    The form the paper's experiments use. |y| counts real tokens, EOS included; masked places are 0 and add nothing
    (TRL's sentinel 1.0 there would pay for padding). Detached, it is biased as a gradient of Eq. 7's
    objective when lengths vary.
    """

    needs: ClassVar[frozenset[str]] = frozenset()

    coef: float = 0.1

    def __call__(self, rollouts: Rollouts, coef: float) -> Tensor:
        return -coef * (rollouts.sequence_logp_B / rollouts.length_B.clamp(min=1)).detach()


RewardRegularizer = Annotated[KL | EntropySum | EntropyLengthNormalized, Choice()]


def coefficient(regularizer: KL | EntropySum | EntropyLengthNormalized) -> float:
    """The coefficient a regularizer starts with, for tables."""
    coef = regularizer.coef
    return coef.initial if isinstance(coef, AdaptiveKL) else float(coef)
