"""Hinge loss on the log-ratio margin."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field
from torch import Tensor

from overopt.config import block
from overopt.objectives.contracts import PreferenceLossProtocol
from overopt.objectives.pair_losses.reference_rewards import reference_rewards
from overopt.types import PreferenceScores


@block
class Hinge(PreferenceLossProtocol):
    """Hinge loss on DPO's reward margin: pairs that are right by enough stop pulling.

    Sums over tokens, nats; at initialization L = 1. TRL calls it `hinge` and credits SLiC, whose own loss has no
    reference (`slic_hf`). beta 0.1 is TRL's default.
    """

    formula = "L = max(0, 1 - beta [(l_w - lref_w) - (l_l - lref_l)])"
    source = "Liu et al. 2023, arXiv 2309.06657 (RSO), hinge-norm loss"
    elsewhere: ClassVar[dict[str, Any]] = {"trl": {"trainer": "DPOTrainer", "loss_type": "'hinge'", "beta": "beta"}}
    needs = frozenset({"reference"})

    beta: Annotated[float, Field(gt=0)] = 0.1

    def __call__(self, scores: PreferenceScores) -> Tensor:
        chosen_P, rejected_P = self.reward(scores)
        return (1 - (chosen_P - rejected_P)).clamp(min=0)

    def reward(self, scores: PreferenceScores) -> tuple[Tensor, Tensor]:
        """beta (l - lref), nats, of the chosen and the rejected completion."""
        return reference_rewards(scores, self.beta)
