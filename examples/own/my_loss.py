"""A loss of your own: a block whose fields are the YAML, and whose `__call__` is the equation.

`overopt.objectives.contracts.PreferenceLossProtocol` says what such a class may have further: what it `needs`, whether
it is `separable`, whether it has state.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from overopt.config import block
from overopt.types import PreferenceScores


@block
class ExponentialLoss:
    """AdaBoost's loss of a pair: L = exp(-scale (l_w/|y_w| - l_l/|y_l|)); what is far off counts most."""

    scale: Annotated[float, Field(gt=0)] = 2.0

    def __call__(self, scores: PreferenceScores) -> Tensor:
        chosen_P, rejected_P = self.reward(scores)
        return (rejected_P - chosen_P).exp()

    def reward(self, scores: PreferenceScores) -> tuple[Tensor, Tensor]:
        """The implicit rewards whose margin and accuracy are recorded."""
        return self.scale * scores.chosen.mean_logp_P, self.scale * scores.rejected.mean_logp_P
