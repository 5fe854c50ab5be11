"""REINFORCE with a running mean as baseline."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field
from torch import Tensor

from overopt.config import block
from overopt.objectives.contracts import AdvantageProtocol
from overopt.objectives.state import State
from overopt.types import Rewards


@block
class RunningBaseline(AdvantageProtocol):
    """REINFORCE with a running baseline: an exponential mean of the rewards of earlier batches. One sample will do.

    `[P, G]`, in units of the reward. The baseline never contains the batch it is subtracted from, so the gradient is
    unbiased; the first batch meets `initial` (0 suits a reward model whose scores are centered). Ahmadian et al.
    average over all earlier rewards; the exponential mean, which follows a moving policy, and its decay are our choice.
    """

    formula = "A_j = R_j - b;  then b <- decay b + (1 - decay) mean R"
    source = "Williams 1992; Ahmadian et al. 2024 (arXiv 2402.14740), REINFORCE with a moving average"
    elsewhere: ClassVar[dict[str, Any]] = {}

    decay: Annotated[float, Field(ge=0, lt=1)] = 0.9
    initial: float = 0.0

    def init(self) -> State:
        return {"baseline": self.initial}

    def __call__(self, rewards: Rewards, state: State) -> tuple[Tensor, State]:  # type: ignore[override]
        baseline = float(state["baseline"])
        moved = self.decay * baseline + (1.0 - self.decay) * float(rewards.reward_PG.mean())
        return rewards.reward_PG - baseline, {"baseline": moved}
