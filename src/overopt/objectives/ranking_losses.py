"""Losses of rankings, K completions from best to worst; the union is the registry.

`contracts.PreferenceLossProtocol` says what a loss must have. They take pairs, too: a pair is a ranking of two.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor

from overopt.config import Choice, NonNegative, Positive, block
from overopt.objectives.contracts import PreferenceLossProtocol
from overopt.objectives.pair_losses import PairLosses
from overopt.objectives.pair_losses.terms import LogRatioReward, token_mean_nll
from overopt.objectives.plackett_luce import plackett_luce
from overopt.types import CompletionLogps, PreferenceScores


@block
class PlackettLuceSimPO(PreferenceLossProtocol):
    """SimPO of K ranked completions: the Plackett-Luce likelihood of alpha log pi, per token or summed.

    The paper derives the sum form without margin; the mean per token and the margin between a completion and each one
    below it are our choice, such that K = 2 is SimPO exactly. Adding f(x) to all rewards of a prompt changes nothing.
    Defaults are SimPO's.
    """

    formula = "L = -sum_{k<K} [s_k - log(e^{s_k} + sum_{j>k} e^{s_j + gamma})], s = alpha l/|y| (mean) or alpha l (sum)"
    source = "Failure Modes of Maximum Entropy RLHF 2025, arXiv 2509.20265, App. C.3 (sum, gamma = 0)"
    takes = "rankings"

    alpha: Positive = 2.0
    gamma: NonNegative = 0.5
    length: Literal["mean", "sum"] = "mean"

    def __call__(self, scores: PreferenceScores) -> Tensor:
        return plackett_luce(torch.stack([self._reward(s) for s in scores.ranked], 1), self.gamma)

    def reward(self, scores: PreferenceScores) -> tuple[Tensor, Tensor]:
        """alpha times the log-probability, per token or summed, of the best and the worst completion."""
        return self._reward(scores.chosen), self._reward(scores.rejected)

    def _reward(self, scored: CompletionLogps) -> Tensor:
        return self.alpha * (scored.mean_logp_P if self.length == "mean" else scored.logp_P)


@block
class PlackettLuceDPO(LogRatioReward):
    """DPO of K ranked completions: the Plackett-Luce likelihood of the log-ratios to a reference.

    Sums over tokens, nats. K = 2 is DPO exactly; at initialization L = log K!. Default as DPO's.
    """

    formula = "L = -sum_{k<K} [s_k - log sum_{j>=k} e^{s_j}], s = beta (l - lref)"
    source = "Rafailov et al. 2023, arXiv 2305.18290, App. A.3"
    takes = "rankings"

    beta: Positive = 0.05

    def __call__(self, scores: PreferenceScores) -> Tensor:
        return plackett_luce(torch.stack([self.beta * s.log_ratio_P for s in scores.ranked], 1))


@block
class RRHF(PreferenceLossProtocol):
    """RRHF: every completion that is more likely than a better one costs the difference; and imitation of the best.

    Likelihood is per token to the power `length_power` of the length (1: nats per token). The imitation term is the
    token mean of the batch. Defaults are the authors'. A pair that is already in order has ranking term 0.
    """

    formula = (
        "L = sum_{i better than j} max(0, p_j - p_i) + sft_weight NLL(y_1), p = l/|y|^length_power, "
        "NLL the mean over the batch's best completions' tokens"
    )
    source = "Yuan et al. 2023, arXiv 2304.05302"
    takes = "rankings"

    length_power: NonNegative = 1.0
    sft_weight: NonNegative = 1.0

    def __call__(self, scores: PreferenceScores) -> Tensor:
        reward_PK = torch.stack([self._reward(s) for s in scores.ranked], 1)
        better, worse = torch.triu_indices(reward_PK.shape[1], reward_PK.shape[1], offset=1, device=reward_PK.device)
        disorder_P = (reward_PK[:, worse] - reward_PK[:, better]).clamp(min=0).sum(1)
        return disorder_P + self.sft_weight * token_mean_nll(scores)

    def reward(self, scores: PreferenceScores) -> tuple[Tensor, Tensor]:
        """l/|y|^length_power of the best and the worst completion."""
        return self._reward(scores.chosen), self._reward(scores.rejected)

    def _reward(self, scored: CompletionLogps) -> Tensor:
        return scored.logp_P / scored.len_P**self.length_power


RankingLosses = PlackettLuceSimPO | PlackettLuceDPO | RRHF
RankingLoss = Annotated[RankingLosses, Choice(PreferenceLossProtocol)]
PreferenceLoss = Annotated[PairLosses | RankingLosses, Choice(PreferenceLossProtocol)]
