"""DPO with a likelihood term."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from overopt.config import block
from overopt.objectives.contracts import PreferenceLossProtocol
from overopt.objectives.pair_losses.nll import token_mean_nll
from overopt.objectives.pair_losses.reference_rewards import reference_rewards
from overopt.types import PreferenceScores


@block
class RPO(PreferenceLossProtocol):
    """Regularized preference optimization: DPO with imitation of the chosen, which acts as a pessimistic adversary.

    l is summed over tokens, nats. The papers and codes of that name take the negative log-likelihood as a sum over
    tokens or as a mean; `nll` chooses (`token_mean`: over the batch's chosen tokens). Defaults are the authors'.
    """

    formula = (
        "L = -log sigma(beta [(l_w - lref_w) - (l_l - lref_l)]) + nll_weight NLL(y_w), "
        "NLL = -l_w (sum) or a mean over chosen tokens (token_mean)"
    )
    source = "Liu et al. 2024, arXiv 2405.16436"
    elsewhere: ClassVar[dict[str, Any]] = {
        "trl": {
            "trainer": "DPOTrainer",
            "when": "nll == 'token_mean'",
            "loss_type": "['sigmoid', 'sft']",
            "loss_weights": "[1.0, nll_weight]",
            "beta": "beta",
        },
    }
    needs = frozenset({"reference"})

    beta: Annotated[float, Field(gt=0)] = 0.01
    nll_weight: Annotated[float, Field(ge=0)] = 0.005
    nll: Literal["sum", "token_mean"] = "sum"

    def __call__(self, scores: PreferenceScores) -> Tensor:
        chosen_P, rejected_P = self.reward(scores)
        nll_P = -scores.chosen.logp_P if self.nll == "sum" else token_mean_nll(scores)
        return -F.logsigmoid(chosen_P - rejected_P) + self.nll_weight * nll_P

    def reward(self, scores: PreferenceScores) -> tuple[Tensor, Tensor]:
        """beta (l - lref), nats, of the chosen and the rejected completion."""
        return reference_rewards(scores, self.beta)
