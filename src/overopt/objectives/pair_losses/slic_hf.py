"""Sequence likelihood calibration."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field
from torch import Tensor

from overopt.config import block
from overopt.objectives.contracts import PreferenceLossProtocol
from overopt.types import PreferenceScores


@block
class SLiCHF(PreferenceLossProtocol):
    """Sequence likelihood calibration with human feedback: a hinge on log-likelihoods, and imitation of the chosen.

    Sums over tokens, nats; no reference. The imitation target is the chosen completion (the paper also takes an SFT
    target). Defaults are the HALOs repository's.
    """

    config_name = "slic_hf"
    formula = "L = max(0, delta - l_w + l_l) - nll_weight l_w"
    source = "Zhao et al. 2023, arXiv 2305.10425"
    elsewhere: ClassVar[dict[str, Any]] = {}

    delta: Annotated[float, Field(ge=0)] = 1.0
    """The margin, nats per sequence."""
    nll_weight: Annotated[float, Field(ge=0)] = 0.1

    def __call__(self, scores: PreferenceScores) -> Tensor:
        chosen_P, rejected_P = self.reward(scores)
        return (self.delta - (chosen_P - rejected_P)).clamp(min=0) - self.nll_weight * chosen_P

    def reward(self, scores: PreferenceScores) -> tuple[Tensor, Tensor]:
        """l, nats, of the chosen and the rejected completion."""
        return scores.chosen.logp_P, scores.rejected.logp_P
