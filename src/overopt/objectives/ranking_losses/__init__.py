"""Losses of rankings, K completions from best to worst; the union is the registry.

They are called as pair losses are, and take pairs too: a pair is a ranking of two.
"""

from __future__ import annotations

from typing import Annotated

from overopt.config import Choice
from overopt.objectives.contracts import PreferenceLossProtocol
from overopt.objectives.pair_losses import PairLosses
from overopt.objectives.ranking_losses.plackett_luce_dpo import PlackettLuceDPO
from overopt.objectives.ranking_losses.plackett_luce_simpo import PlackettLuceSimPO
from overopt.objectives.ranking_losses.rrhf import RRHF

RankingLosses = PlackettLuceSimPO | PlackettLuceDPO | RRHF
RankingLoss = Annotated[RankingLosses, Choice(PreferenceLossProtocol)]
PreferenceLoss = Annotated[PairLosses | RankingLosses, Choice(PreferenceLossProtocol)]

__all__ = ["RRHF", "PlackettLuceDPO", "PlackettLuceSimPO", "PreferenceLoss", "RankingLoss", "RankingLosses"]
