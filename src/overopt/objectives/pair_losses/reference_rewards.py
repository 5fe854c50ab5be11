"""The implicit reward of losses that compare the policy with a reference."""

from __future__ import annotations

from torch import Tensor

from overopt.types import PreferenceScores


def reference_rewards(scores: PreferenceScores, beta: float) -> tuple[Tensor, Tensor]:
    """beta (log pi(y|x) - log pi_ref(y|x)) of the chosen and of the rejected completion; sums over tokens."""
    return beta * scores.chosen.log_ratio_P, beta * scores.rejected.log_ratio_P
