"""A loss of one's own: a block whose fields are the YAML, and whose `__call__` is the equation."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor

from overopt.config import block
from overopt.types import PreferenceScores


@block
class ExponentialLoss:
    """AdaBoost's loss of a pair: L = exp(-scale (l_w/|y_w| - l_l/|y_l|)); what is far off counts most."""

    needs: ClassVar[frozenset[str]] = frozenset()  # may hold "reference", "mismatched", "logits"
    separable: ClassVar[bool] = True  # the loss of a pair depends on that pair alone

    scale: Annotated[float, Field(gt=0)] = 2.0

    def __call__(self, scores: PreferenceScores) -> Tensor:
        chosen_P, rejected_P = self.reward(scores)
        return (rejected_P - chosen_P).exp()

    def reward(self, scores: PreferenceScores) -> tuple[Tensor, Tensor]:
        """The implicit rewards whose margin and accuracy are recorded."""
        return self.scale * scores.chosen.mean_logp_P, self.scale * scores.rejected.mean_logp_P
