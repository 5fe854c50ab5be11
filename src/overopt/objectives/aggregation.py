"""Aggregation of token losses to one loss per row; the mean over a minibatch's rows is the loss.

| name            | L of a row           | over a minibatch        | in other libraries                            |
|-----------------|----------------------|-------------------------|-----------------------------------------------|
| `sequence_sum`  | sum_t l_t            | mean over rows of sums  | verl `seq-mean-token-sum`                     |
| `sequence_mean` | sum_t l_t / abs(y)   | mean over rows of means | TRL `grpo`; verl `seq-mean-token-mean`        |
| `token_mean`    | sum_t l_t / mean_len | mean over all tokens    | TRL `dapo`; verl `token-mean`                 |
| `fixed_length`  | sum_t l_t / max_len  | sum over a constant     | TRL `dr_grpo`; verl `seq-mean-token-sum-norm` |

Only `sequence_sum` (and its constant multiple `fixed_length`) leaves the gradient of a sequence-level objective as it
is when lengths vary: dividing by |y| weights a completion's gradient by a quantity that the completion itself
determines.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from overopt.types import PolicyUpdate

Aggregation = Literal["sequence_sum", "sequence_mean", "token_mean", "fixed_length"]


def aggregate(loss_BT: Tensor, update: PolicyUpdate, aggregation: Aggregation) -> Tensor:
    """Return one loss per row, `[B]`, from token losses that are 0 on padding; 0 for an empty completion."""
    sum_B = loss_BT.sum(1)
    match aggregation:
        case "sequence_sum":
            return sum_B
        case "sequence_mean":
            return sum_B / update.length_B.clamp(min=1)
        case "token_mean":
            return sum_B / (update.mean_len or 1.0)
        case "fixed_length":
            return sum_B / max(1, update.max_len)
