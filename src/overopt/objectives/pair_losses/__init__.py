"""Losses of preference pairs; the union is the registry.

A loss is called with `PairScores` and returns one loss per pair. `reward` gives the implicit rewards whose
difference it fits. `needs` names what the loop must supply beyond the policy's own log-probabilities, and `separable`
says whether the loss of a pair depends on that pair alone.
"""

from __future__ import annotations

from typing import Annotated

from overopt.config import Choice
from overopt.objectives.pair_losses.dpo import DPO
from overopt.objectives.pair_losses.kto import KTO
from overopt.objectives.pair_losses.simpo import SimPO

PairLoss = Annotated[DPO | SimPO | KTO, Choice()]

__all__ = ["DPO", "KTO", "PairLoss", "SimPO"]
