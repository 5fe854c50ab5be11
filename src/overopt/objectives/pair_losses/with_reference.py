"""Losses of pairs that compare the policy with a reference: DPO and its variants, and KTO."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from overopt.config import NonNegative, Positive, block
from overopt.objectives.contracts import PreferenceLossProtocol
from overopt.objectives.pair_losses.terms import LogRatioReward, token_mean_nll
from overopt.types import PreferenceScores


@block
class DPO(LogRatioReward):
    """Direct preference optimization: the reward is the log-ratio to a reference.

    l is summed over tokens, nats. At initialization, where the policy is the reference, L = log 2. With
    `label_smoothing` e, a share e of the labels is taken to be flipped: `conservative` (Mitchell 2023) fits the
    smoothed labels, so that the margin stays finite; `robust` (Chowdhury et al. 2024, rDPO) is unbiased for the clean
    loss, and negative for pairs that are well separated. beta 0.05 is Huang et al.'s (2024). TRL 1.16 has the robust
    form only, OpenRLHF the conservative one.
    """

    formula = (
        "u = beta [(l_w - lref_w) - (l_l - lref_l)]; L = -log sigma(u); smoothed, with e = label_smoothing: "
        "conservative -(1-e) log sigma(u) - e log sigma(-u), "
        "robust [-(1-e) log sigma(u) + e log sigma(-u)] / (1 - 2e)"
    )
    source = "Rafailov et al. 2023, arXiv 2305.18290, Eq. 7"

    beta: Positive = 0.05
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    """Share of the labels taken to be wrong."""
    smoothing: Literal["conservative", "robust"] = "conservative"

    def __call__(self, scores: PreferenceScores) -> Tensor:
        chosen_P, rejected_P = self.reward(scores)
        right_P, flipped_P = -F.logsigmoid(chosen_P - rejected_P), -F.logsigmoid(rejected_P - chosen_P)
        share = self.label_smoothing
        if self.smoothing == "robust":
            return ((1 - share) * right_P - share * flipped_P) / (1 - 2 * share)
        return (1 - share) * right_P + share * flipped_P


@block
class IPO(PreferenceLossProtocol):
    """Identity preference optimization: the log-ratio gap is regressed on a constant, so that it stays bounded.

    D = l - lref, nats: `sum` over tokens as in the paper and in the DPO authors' code, or `mean` per token (D / |y|),
    which is what TRL computes and what, it says, the authors confirmed. The two need different tau: the target gap
    1/(2 tau) is nats per sequence in the one and nats per token in the other. tau 0.1 is TRL's default.
    The reward's target gap is 1/2.
    """

    formula = "L = (h - 1/(2 tau))^2, h = D_w - D_l, D = l - lref (sum) or (l - lref)/|y| (mean)"
    source = "Azar et al. 2023, arXiv 2310.12036, Eq. 17"
    needs = frozenset({"reference"})

    tau: Positive = 0.1
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


@block
class Hinge(LogRatioReward):
    """Hinge loss on DPO's reward margin: pairs that are ordered by a sufficient margin have no gradient.

    Sums over tokens, nats; at initialization L = 1. TRL calls it `hinge` and credits SLiC, whose own loss has no
    reference (`slic_hf`). beta 0.1 is TRL's default.
    """

    formula = "L = max(0, 1 - beta [(l_w - lref_w) - (l_l - lref_l)])"
    source = "Liu et al. 2023, arXiv 2309.06657 (RSO), hinge-norm loss"

    beta: Positive = 0.1

    def __call__(self, scores: PreferenceScores) -> Tensor:
        chosen_P, rejected_P = self.reward(scores)
        return (1 - (chosen_P - rejected_P)).clamp(min=0)


@block
class RPO(LogRatioReward):
    """Regularized preference optimization: DPO with imitation of the chosen, which acts as a pessimistic adversary.

    l is summed over tokens, nats. The papers and codes of that name take the negative log-likelihood as a sum over
    tokens or as a mean; `nll` chooses (`token_mean`: over the batch's chosen tokens). Defaults are the authors'.
    """

    formula = (
        "L = -log sigma(beta [(l_w - lref_w) - (l_l - lref_l)]) + nll_weight NLL(y_w), "
        "NLL = -l_w (sum) or a mean over chosen tokens (token_mean)"
    )
    source = "Liu et al. 2024, arXiv 2405.16436"

    beta: Positive = 0.01
    nll_weight: NonNegative = 0.005
    nll: Literal["sum", "token_mean"] = "sum"

    def __call__(self, scores: PreferenceScores) -> Tensor:
        chosen_P, rejected_P = self.reward(scores)
        nll_P = -scores.chosen.logp_P if self.nll == "sum" else token_mean_nll(scores)
        return -F.logsigmoid(chosen_P - rejected_P) + self.nll_weight * nll_P


@block
class ChiPO(PreferenceLossProtocol):
    """Chi-squared preference optimization: DPO with z + log z in place of log z, which penalizes leaving the data.

    The implicit regularizer is KL plus chi-squared divergence. l is summed over tokens, nats. In e^d, d is clamped
    at `log_ratio_limit` (beyond it that term has no gradient), and with `reward_range` R the margin is clipped to
    [-2R, 2R]. How the authors bound the exponential in practice is NOT verified: the limit is our choice. At
    initialization L = log 2. Default beta as DPO's.
    """

    config_name = "chi_po"
    formula = "L = -log sigma(clip[-2R, 2R](beta [phi(d_w) - phi(d_l)])), phi(d) = e^d + d, d = l - lref"
    source = "Huang et al. 2024, arXiv 2407.13399, Algorithm 1"
    needs = frozenset({"reference"})

    beta: Positive = 0.05
    reward_range: Positive | None = None
    """R, the largest reward; null: no clipping."""
    log_ratio_limit: Annotated[float, Field(gt=0, le=80)] = 20.0

    def __call__(self, scores: PreferenceScores) -> Tensor:
        chosen_P, rejected_P = self.reward(scores)
        margin_P = chosen_P - rejected_P
        if self.reward_range is not None:
            margin_P = margin_P.clamp(-2 * self.reward_range, 2 * self.reward_range)
        return -F.logsigmoid(margin_P)

    def reward(self, scores: PreferenceScores) -> tuple[Tensor, Tensor]:
        """beta phi(d) of the chosen and the rejected completion."""
        return self._reward(scores.chosen.log_ratio_P), self._reward(scores.rejected.log_ratio_P)

    def _reward(self, log_ratio_P: Tensor) -> Tensor:
        return self.beta * (log_ratio_P.clamp(max=self.log_ratio_limit).exp() + log_ratio_P)


@block
class KTO(LogRatioReward):
    """Kahneman-Tversky optimization: each completion by itself is desirable or not, relative to the policy's drift.

    z is the drift on mismatched completions (each prompt with the next pair's chosen one), without gradient: a
    statistic of the batch, so the loss of a pair depends on its neighbors, and a batch needs two pairs. L is the sum
    of both halves; TRL averages over completions, which is L/2 for as many desirable as undesirable ones (hence the 2
    in the translation), and takes its mismatched completions from chosen and rejected ones alike, in the order of its
    data. beta 0.1 is TRL's default.
    """

    formula = (
        "L = w_d (1 - sigma(r_w - z)) + w_u (1 - sigma(z - r_l)), r = beta (l - lref), "
        "z = max(0, beta mean_batch(l - lref on mismatched completions))"
    )
    source = "Ethayarajh et al. 2024, arXiv 2402.01306"
    needs = frozenset({"reference", "mismatched"})
    separable = False

    beta: Positive = 0.1
    desirable_weight: NonNegative = 1.0
    undesirable_weight: NonNegative = 1.0

    def __call__(self, scores: PreferenceScores) -> Tensor:
        if scores.mismatched is None:
            raise ValueError("KTO needs mismatched completions")
        chosen_P, rejected_P = self.reward(scores)
        zero = (self.beta * scores.mismatched.log_ratio_P).detach().mean().clamp(min=0)
        desirable_P = self.desirable_weight * (1 - torch.sigmoid(chosen_P - zero))
        return desirable_P + self.undesirable_weight * (1 - torch.sigmoid(zero - rejected_P))
