"""Contrastive token loss behind a gate on the pair's margin."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from overopt.config import block
from overopt.objectives.contracts import PreferenceLossProtocol
from overopt.objectives.pair_losses.cringe_tokens import cringe_tokens
from overopt.objectives.pair_losses.nll import token_mean_nll
from overopt.types import PreferenceScores


@block
class PairwiseCringe(PreferenceLossProtocol):
    """Cringe with a gate: a pair that is right by more than the margin stops teaching.

    The structure (a sigmoid of the sequence margin times Cringe) is the paper's; its exact form is NOT verified: which
    terms are means over tokens (here both, as in Cringe), whether the gate passes gradient (`gate`), and the defaults
    of margin and tau (our choice, nats per sequence) may differ. Iterate by sampling new pairs between runs.
    """

    formula = "L = g [NLL(y_w) + cringe_weight C(y_l)], g = sigma((margin - (l_w - l_l))/tau), NLL and C as in cringe"
    source = "Xu et al. 2023, arXiv 2312.16682"
    elsewhere: ClassVar[dict[str, Any]] = {}
    needs = frozenset({"logits"})

    margin: float = 0.0
    tau: Annotated[float, Field(gt=0)] = 10.0
    cringe_weight: Annotated[float, Field(ge=0)] = 1.0
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
