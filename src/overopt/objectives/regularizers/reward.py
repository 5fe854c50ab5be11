"""Regularizers that act in the reward: detached, sampled, added to the score of a completion.

Each is called with the current coefficient, which a controller may change, and returns a bonus in units of the
reward. "Expected gradient" in the docstrings is that of E[bonus] as a policy gradient sees it, sum_y pi(y) bonus(y)
grad log pi(y), with completions drawn from the policy itself.
"""

from __future__ import annotations

from typing import Self

from pydantic import model_validator
from torch import Tensor

from overopt.config import Positive, block
from overopt.objectives.contracts import RewardRegularizerProtocol
from overopt.objectives.controllers import Coefficient, NonNegativeCoefficient
from overopt.types import Rollouts


@block
class KL(RewardRegularizerProtocol):
    """KL(pi || ref) by the k1 estimator, summed over tokens. Nats per sequence; `[B]`.

    Expected gradient: exactly that of -coef KL(pi || ref). Needs the reference. The default coefficient is the N+
    recipe's. TRL's RLOO does the same; OpenRLHF and verl spread the penalty over the tokens, each of whose advantages
    sees only the penalties that follow it.
    """

    needs = frozenset({"reference"})
    formula = "bonus = -coef (log pi(y|x) - log pi_ref(y|x))"
    source = "Ziegler et al. 2019; Ahmadian et al. 2024; coef 0.05: N+ recipe (Huang et al. 2024)"

    coef: NonNegativeCoefficient = 0.05

    def __call__(self, rollouts: Rollouts, coef: float) -> Tensor:
        return -coef * rollouts.sequence_kl_B.detach()


@block
class EntropySum(RewardRegularizerProtocol):
    """Maximum entropy, sum form. Nats per sequence; `[B]`. coef < 0 minimizes entropy.

    E[bonus] = coef H[pi(.|x)], and the expected gradient is exactly that of coef H: the part that detaching leaves out,
    -coef E[grad log pi(y|x)], is 0. The default coefficient is our choice.
    """

    formula = "bonus = -coef log pi(y|x)"
    source = '"Failure Modes of Maximum Entropy RLHF" (arXiv 2509.20265), Eq. 6'

    coef: Coefficient = 0.01

    def __call__(self, rollouts: Rollouts, coef: float) -> Tensor:
        return -coef * rollouts.sequence_logp_B.detach()


@block
class EntropyLengthNormalized(RewardRegularizerProtocol):
    """Maximum entropy per token: the form of the paper's experiments. Nats per token; `[B]`. coef < 0 is MinEnt.

    |y| counts real tokens, EOS included. The expected gradient is not that of coef E[-log pi(y|x) / |y|] when lengths
    vary: detaching leaves out -coef E[grad log pi(y|x) / |y|], which is then not 0. `gradient_correction` adds the
    reward -coef/|y| whose expected gradient is that missing part; with it the gradient is exact.

    `emulate_trl_sentinel` shows what a patch of TRL's old RLOOTrainer would pay, whose log-probabilities are 1.0 on
    padding: -coef/|y| more for each token that the completion stays below the limit, hence a reward for length.
    `temperature` shows what log pi at another temperature than that of sampling would pay; the bonus is then no entropy
    of the policy that is trained, and costs a forward pass.
    With coef -1 and no reward model it is EM-RL-sequence (Agarwal et al. 2025). The default coefficient is our choice.
    """

    formula = "bonus = -(coef/|y|) log pi(y|x)   [gradient_correction: - coef/|y|]"
    source = '"Failure Modes of Maximum Entropy RLHF" (arXiv 2509.20265), Eq. 7'

    coef: Coefficient = 0.1
    gradient_correction: bool = False
    """Pay -coef/|y| too, so that the gradient is that of the bonus's mean."""
    emulate_trl_sentinel: bool = False
    """Count 1.0 for every token below the limit, as a tensor of TRL's old trainer has it; for diagnosis only."""
    temperature: Positive | None = None
    """Temperature of the log-probabilities of the bonus; null: that of sampling. Another one is for diagnosis only."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.gradient_correction and self.temperature is not None:
            raise ValueError("gradient_correction: is for the entropy of the sampled policy; leave temperature out")
        return self

    def __call__(self, rollouts: Rollouts, coef: float) -> Tensor:
        logp_B = rollouts.sequence_logp_B.detach() if self.temperature is None else self._at(self.temperature, rollouts)
        if self.emulate_trl_sentinel:
            logp_B = logp_B + rollouts.padding_B
        if self.gradient_correction:
            logp_B = logp_B + 1.0
        return -coef * (logp_B / rollouts.length_B.clamp(min=1))

    @staticmethod
    def _at(temperature: float, rollouts: Rollouts) -> Tensor:
        if rollouts.logp_at is None:
            raise ValueError("these rollouts carry no log-probabilities at another temperature")
        return rollouts.logp_at(temperature).sum(1)
