"""The implicit reward of losses that compare the policy with a reference."""

from __future__ import annotations

from torch import Tensor

from overopt.types import PairScores


def reference_rewards(scores: PairScores, beta: float) -> tuple[Tensor, Tensor]:
    """beta (log pi(y|x) - log pi_ref(y|x)) of the chosen and of the rejected completion; sums over tokens."""
    assert scores.ref_chosen_logp_P is not None and scores.ref_rejected_logp_P is not None
    return (
        beta * (scores.chosen_logp_P - scores.ref_chosen_logp_P),
        beta * (scores.rejected_logp_P - scores.ref_rejected_logp_P),
    )
