"""The four stages by name."""

from __future__ import annotations

from overopt.training.stages.offline import Offline
from overopt.training.stages.online import Online
from overopt.training.stages.reward_model import RewardModelStage
from overopt.training.stages.sft import SFT

STAGES: dict[str, type] = {cls.stage: cls for cls in (SFT, RewardModelStage, Online, Offline)}

__all__ = ["SFT", "STAGES", "Offline", "Online", "RewardModelStage"]
