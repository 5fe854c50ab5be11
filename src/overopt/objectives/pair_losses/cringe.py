"""Contrastive token loss on rejected completions."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field
from torch import Tensor

from overopt.config import block
from overopt.objectives.contracts import PreferenceLossProtocol
from overopt.objectives.pair_losses.cringe_tokens import cringe_tokens
from overopt.objectives.pair_losses.nll import token_mean_nll
from overopt.types import PreferenceScores


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
    elsewhere: ClassVar[dict[str, Any]] = {}
    needs = frozenset({"logits"})

    cringe_weight: Annotated[float, Field(ge=0)] = 1.0
    top_k: Annotated[int, Field(gt=0)] = 5

    def __call__(self, scores: PreferenceScores) -> Tensor:
        cringe_P = cringe_tokens(scores.rejected, self.top_k).sum(1) / scores.mean_len[-1]
        return token_mean_nll(scores) + self.cringe_weight * cringe_P

    def reward(self, scores: PreferenceScores) -> tuple[Tensor, Tensor]:
        """The mean log-probability per token; the loss fits no difference of rewards."""
        return scores.chosen.mean_logp_P, scores.rejected.mean_logp_P
