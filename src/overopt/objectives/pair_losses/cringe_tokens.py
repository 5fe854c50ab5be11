"""What a token of a rejected completion costs in the Cringe losses."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from overopt.types import Logits, Scored


def cringe_tokens(scored: Scored, top_k: int) -> Tensor:
    """-log(e^{s+} / (e^{s+} + e^{s-})), the mean over the draw of s+, `[P, T]`, 0 on padding; nats.

    s- is the token's logit, s+ the logit of a token drawn from the softmax of the k largest others. The authors draw
    one; this is the exact mean over the draw, whose gradient is that of a drawn one in expectation (the probabilities
    of the draw have no gradient, as there). Of a vocabulary with fewer others, all are candidates.
    """

    def cost_M(logits: Logits) -> Tensor:
        own_M1 = logits.token_M[:, None]
        rest_MV = logits.new_MV.scatter(1, own_M1, float("-inf"))
        candidate_MK = rest_MV.topk(min(top_k, rest_MV.shape[1] - 1), dim=1).values
        share_MK = candidate_MK.detach().softmax(1)
        return (share_MK * F.softplus(logits.new_MV.gather(1, own_M1) - candidate_MK)).sum(1)

    return scored.per_token(cost_M)
