"""Identity preference optimization."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from overopt.config import block
from overopt.objectives.contracts import PreferenceLossProtocol
from overopt.types import PreferenceScores


@block
class IPO(PreferenceLossProtocol):
    """Identity preference optimization: the log-ratio gap is regressed on a constant, so that it cannot run away.

    D = l - lref, nats: `sum` over tokens as in the paper and in the DPO authors' code, or `mean` per token (D / |y|),
    which is what TRL computes and what, it says, the authors confirmed. The two need different tau: the target gap
    1/(2 tau) is nats per sequence in the one and nats per token in the other. tau 0.1 is TRL's default.
    The reward's target gap is 1/2.
    """

    formula = "L = (h - 1/(2 tau))^2, h = D_w - D_l, D = l - lref (sum) or (l - lref)/|y| (mean)"
    source = "Azar et al. 2023, arXiv 2310.12036, Eq. 17"
    elsewhere: ClassVar[dict[str, Any]] = {
        "trl": {"trainer": "DPOTrainer", "when": "length == 'mean'", "loss_type": "'ipo'", "beta": "tau"},
        "openrlhf": "train_dpo --ipo --beta TAU (length: sum)",
    }
    needs = frozenset({"reference"})

    tau: Annotated[float, Field(gt=0)] = 0.1
    length: Literal["sum", "mean"] = "sum"
    """Whether a log-ratio is a sum over tokens or their mean."""

    def __call__(self, scores: PreferenceScores) -> Tensor:
        chosen_P, rejected_P = self.reward(scores)
        return ((chosen_P - rejected_P - 0.5) / self.tau) ** 2

    def reward(self, scores: PreferenceScores) -> tuple[Tensor, Tensor]:
        """tau D of the chosen and the rejected completion."""
        chosen, rejected = scores.chosen, scores.rejected
        if self.length == "mean":
            return self.tau * chosen.log_ratio_P / chosen.len_P, self.tau * rejected.log_ratio_P / rejected.len_P
        return self.tau * chosen.log_ratio_P, self.tau * rejected.log_ratio_P
