"""Cringe: a contrastive loss of the tokens of rejected completions."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from overopt.config import NonNegative, Positive, block
from overopt.objectives.contracts import PreferenceLossProtocol
from overopt.objectives.pair_losses.terms import token_mean_nll
from overopt.types import CompletionLogps, PreferenceScores, TokenLogits


def cringe_tokens(scored: CompletionLogps, top_k: int) -> Tensor:
    """-log(e^{s+} / (e^{s+} + e^{s-})), the mean over the draw of s+, `[P, T]`, 0 on padding; nats.

    s- is the token's logit, s+ the logit of a token drawn from the softmax of the k largest others. The authors draw
    one; this is the exact mean over the draw, whose gradient is that of a drawn one in expectation (the probabilities
    of the draw have no gradient, as there). Of a vocabulary with fewer others, all are candidates.
    """

    def cost_M(logits: TokenLogits) -> Tensor:
        own_M1 = logits.token_M[:, None]
        rest_MV = logits.new_MV.scatter(1, own_M1, float("-inf"))
        candidate_MK = rest_MV.topk(min(top_k, rest_MV.shape[1] - 1), dim=1).values
        share_MK = candidate_MK.detach().softmax(1)
        return (share_MK * F.softplus(logits.new_MV.gather(1, own_M1) - candidate_MK)).sum(1)

    return scored.per_token(cost_M)


@block
class Cringe(PreferenceLossProtocol):
    """Cringe: imitation of the chosen, and each token of the rejected against likely alternatives.

    Both terms are means over the batch's tokens, nats. The alternative is drawn from the `top_k` most likely other
    tokens; we take the exact mean over the draw. Logits are over the temperature, as all log-probabilities here.
    top_k 5 is that of the published settings; weight 1 is our choice.
    """

    formula = (
        "L = NLL(y_w) + cringe_weight C(y_l), means over tokens; C_t = E[-log(e^{s+}/(e^{s+} + e^{s-}))], "
        "s- the token's logit, s+ drawn from the top-k others"
    )
    source = "Adolphs et al. 2022, arXiv 2211.05826"
    needs = frozenset({"logits"})

    cringe_weight: NonNegative = 1.0
    top_k: Annotated[int, Field(gt=0)] = 5

    def __call__(self, scores: PreferenceScores) -> Tensor:
        cringe_P = cringe_tokens(scores.rejected, self.top_k).sum(1) / scores.mean_len[-1]
        return token_mean_nll(scores) + self.cringe_weight * cringe_P

    def reward(self, scores: PreferenceScores) -> tuple[Tensor, Tensor]:
        """The mean log-probability per token; the loss fits no difference of rewards."""
        return scores.chosen.mean_logp_P, scores.rejected.mean_logp_P


@block
class PairwiseCringe(PreferenceLossProtocol):
    """Cringe with a gate: a pair that is ordered by more than the margin no longer contributes.

    The structure (a sigmoid of the sequence margin times Cringe) is the paper's; its exact form is NOT verified: which
    terms are means over tokens (here both, as in Cringe), whether the gate passes gradient (`gate`), and the defaults
    of margin and tau (our choice, nats per sequence) may differ. Iterate by sampling new pairs between runs.
    """

    formula = "L = g [NLL(y_w) + cringe_weight C(y_l)], g = sigma((margin - (l_w - l_l))/tau), NLL and C as in cringe"
    source = "Xu et al. 2023, arXiv 2312.16682"
    needs = frozenset({"logits"})

    margin: float = 0.0
    tau: Positive = 10.0
    cringe_weight: NonNegative = 1.0
    top_k: Annotated[int, Field(gt=0)] = 5
    gate: Literal["detached", "differentiable"] = "detached"

    def __call__(self, scores: PreferenceScores) -> Tensor:
        chosen_P, rejected_P = self.reward(scores)
        gate_P = torch.sigmoid((self.margin - (chosen_P - rejected_P)) / self.tau)
        if self.gate == "detached":
            gate_P = gate_P.detach()
        cringe_P = cringe_tokens(scores.rejected, self.top_k).sum(1) / scores.mean_len[-1]
        return gate_P * (token_mean_nll(scores) + self.cringe_weight * cringe_P)

    def reward(self, scores: PreferenceScores) -> tuple[Tensor, Tensor]:
        """l, nats, of the chosen and the rejected completion: what the gate compares."""
        return scores.chosen.logp_P, scores.rejected.logp_P
