"""From the shaped rewards of groups of completions to their advantages; the union is the registry.

An advantage is called with `Rewards` and returns `[P, G]`, in units of the reward unless it normalizes. One that
remembers follows `objectives/state.py`. `needs` may hold `greedy`: the reward of each prompt's greedy completion.
`minimum_samples` is the least G that it is defined for, `minimum_batch` the least P*G.
"""

from __future__ import annotations

from typing import Annotated

from overopt.config import Choice
from overopt.objectives.advantages.group_mean import GroupMean
from overopt.objectives.advantages.group_normalized import GroupNormalized
from overopt.objectives.advantages.opo import OPO
from overopt.objectives.advantages.reinforce_pp import ReinforcePP
from overopt.objectives.advantages.remax import ReMax
from overopt.objectives.advantages.rloo import RLOO
from overopt.objectives.advantages.running_baseline import RunningBaseline
from overopt.objectives.contracts import AdvantageProtocol

Advantage = Annotated[
    RLOO | GroupMean | GroupNormalized | RunningBaseline | ReinforcePP | ReMax | OPO, Choice(AdvantageProtocol)
]

__all__ = [
    "OPO",
    "RLOO",
    "Advantage",
    "GroupMean",
    "GroupNormalized",
    "ReMax",
    "ReinforcePP",
    "RunningBaseline",
]
