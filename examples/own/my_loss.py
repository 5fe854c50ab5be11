"""Your own loss: a block whose fields are the YAML, and whose `__call__` is the equation.

`overopt.objectives.contracts.PreferenceLossProtocol` says what else such a class may declare: what it `needs`,
whether it is `separable`, whether it has state.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from overopt.config import block
from overopt.types import PreferenceScores


@block
class ExponentialLoss:
    """The exponential loss of a pair, L = exp(-scale (l_w/|y_w| - l_l/|y_l|)): the worst pairs count most."""

    scale: Annotated[float, Field(gt=0)] = 2.0

    def __call__(self, scores: PreferenceScores) -> Tensor:
        chosen_P, rejected_P = self.reward(scores)
        return (rejected_P - chosen_P).exp()

    def reward(self, scores: PreferenceScores) -> tuple[Tensor, Tensor]:
        """Return the implicit rewards; their margin and accuracy are recorded."""
        return self.scale * scores.chosen.mean_logp_P, self.scale * scores.rejected.mean_logp_P
