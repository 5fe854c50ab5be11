"""The plain policy gradient."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from overopt.config import block
from overopt.objectives.aggregation import Aggregation, aggregate
from overopt.objectives.contracts import PolicyLossProtocol
from overopt.types import PolicyUpdate


@block
class Reinforce(PolicyLossProtocol):
    """REINFORCE: the advantage times the log-probability; no ratio, no clip.

    Rows `[B]`. The gradient is that of the expected reward as long as the rollouts are the policy's own: use one epoch
    and one minibatch; later passes are off-policy and uncorrected. Only `sequence_sum` (and its constant multiple
    `fixed_length`) is unbiased; the value of the loss means nothing by itself.
    """

    formula = "L_j = -A_j sum_t log pi_new(y_t), aggregated"
    source = "Williams 1992; Ahmadian et al. 2024 (arXiv 2402.14740)"
    elsewhere: ClassVar[dict[str, Any]] = {
        "verl": "actor.loss_agg_mode=seq-mean-token-sum, one update a batch (the ratio is 1)",
    }

    aggregation: Aggregation = "sequence_sum"

    def __call__(self, update: PolicyUpdate) -> Tensor:
        return aggregate(-update.advantage_B[:, None] * update.logp_BT, update, self.aggregation)
