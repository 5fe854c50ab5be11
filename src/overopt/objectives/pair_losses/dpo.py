"""Direct preference optimization."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from overopt.config import block
from overopt.objectives.contracts import PreferenceLossProtocol
from overopt.objectives.pair_losses.reference_rewards import reference_rewards
from overopt.types import PreferenceScores


@block
class DPO(PreferenceLossProtocol):
    """Direct preference optimization: the reward is the log-ratio to a reference.

    l is summed over tokens, nats. At initialization, where the policy is the reference, L = log 2. With
    `label_smoothing` e, a share e of the labels is taken to be flipped: `conservative` (Mitchell 2023) fits the
    smoothed labels, so that the margin stays finite; `robust` (Chowdhury et al. 2024, rDPO) is unbiased for the clean
    loss, and negative for pairs that are well separated. beta 0.05 is Huang et al.'s (2024). TRL 1.16 has the robust
    form only, OpenRLHF the conservative one.
    """

    formula = (
        "u = beta [(l_w - lref_w) - (l_l - lref_l)]; L = -log sigma(u); smoothed, with e = label_smoothing: "
        "conservative -(1-e) log sigma(u) - e log sigma(-u), "
        "robust [-(1-e) log sigma(u) + e log sigma(-u)] / (1 - 2e)"
    )
    source = "Rafailov et al. 2023, arXiv 2305.18290, Eq. 7"
    elsewhere: ClassVar[dict[str, Any]] = {
        "trl": {
            "trainer": "DPOTrainer",
            "when": "label_smoothing == 0 or smoothing == 'robust'",
            "loss_type": "'sigmoid' if label_smoothing == 0 else smoothing",
            "beta": "beta",
            "label_smoothing": "label_smoothing",
        },
        "openrlhf": "train_dpo --beta BETA --label_smoothing E (conservative)",
    }
    needs = frozenset({"reference"})

    beta: Annotated[float, Field(gt=0)] = 0.05
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    """Share of the labels taken to be wrong."""
    smoothing: Literal["conservative", "robust"] = "conservative"

    def __call__(self, scores: PreferenceScores) -> Tensor:
        chosen_P, rejected_P = self.reward(scores)
        right_P, flipped_P = -F.logsigmoid(chosen_P - rejected_P), -F.logsigmoid(rejected_P - chosen_P)
        share = self.label_smoothing
        if self.smoothing == "robust":
            return ((1 - share) * right_P - share * flipped_P) / (1 - 2 * share)
        return (1 - share) * right_P + share * flipped_P

    def reward(self, scores: PreferenceScores) -> tuple[Tensor, Tensor]:
        """beta (l - lref), nats, of the chosen and the rejected completion."""
        return reference_rewards(scores, self.beta)
