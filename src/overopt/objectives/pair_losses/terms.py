"""Terms that several losses of preferences share."""

from __future__ import annotations

from abc import ABC

from torch import Tensor

from overopt.config import Positive, block
from overopt.objectives.contracts import PreferenceLossProtocol
from overopt.types import PreferenceScores


def reference_rewards(scores: PreferenceScores, beta: float) -> tuple[Tensor, Tensor]:
    """Return beta (log pi(y|x) - log pi_ref(y|x)) of the chosen and of the rejected completion, summed over tokens."""
    return beta * scores.chosen.log_ratio_P, beta * scores.rejected.log_ratio_P


@block
class LogRatioReward(PreferenceLossProtocol, ABC):
    """A loss whose implicit reward is the log-ratio to a reference, times beta."""

    needs = frozenset({"reference"})

    beta: Positive

    def reward(self, scores: PreferenceScores) -> tuple[Tensor, Tensor]:
        """beta (l - lref), nats, of the best and the worst completion."""
        return reference_rewards(scores, self.beta)


def token_mean_nll(scores: PreferenceScores) -> Tensor:
    """Return -log pi(y_w) / (mean |y_w| of the batch), whose mean over the batch is the mean over all chosen tokens.

    So a mean over tokens, which couples the pairs of a batch, stays a sum of terms of one pair each.
    """
    return -scores.chosen.logp_P / scores.mean_len[0]
