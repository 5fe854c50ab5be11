"""Negative log-likelihood of the chosen completion, as some losses add it."""

from __future__ import annotations

from torch import Tensor

from overopt.types import PreferenceScores


def token_mean_nll(scores: PreferenceScores) -> Tensor:
    """-log pi(y_w) / (mean |y_w| of the batch): its mean over the batch is the mean over all chosen tokens.

    So a mean over tokens, which couples the pairs of a batch, stays a sum of terms of one pair each.
    """
    return -scores.chosen.logp_P / scores.mean_len[0]
