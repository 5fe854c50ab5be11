"""Losses of pairs that need no reference: SimPO and its relatives, and losses that also imitate the chosen."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from overopt.config import NonNegative, Positive, block
from overopt.objectives.contracts import PreferenceLossProtocol
from overopt.objectives.pair_losses.terms import token_mean_nll
from overopt.types import CompletionLogps, PreferenceScores


@block
class SimPO(PreferenceLossProtocol):
    """Simple preference optimization: the reward is the mean log-probability per token; no reference.

    The target gap of mean log-probabilities is gamma/alpha nats per token. In the authors' code alpha is `beta` and
    gamma is `beta * gamma_beta_ratio`; in TRL alpha is `beta` and gamma is `simpo_gamma`, and with TRL's default
    beta 0.1 a gamma of 0.5 asks for 5 nats per token. Defaults are the authors'. Which alpha Failure Modes of Maximum
    Entropy RLHF (2025) used is not known.
    """

    formula = "L = -log sigma(alpha l_w/|y_w| - alpha l_l/|y_l| - gamma)"
    source = "Meng et al. 2024, arXiv 2405.14734, Eq. 6"

    alpha: Positive = 2.0
    gamma: NonNegative = 0.5

    def __call__(self, scores: PreferenceScores) -> Tensor:
        chosen_P, rejected_P = self.reward(scores)
        return -F.logsigmoid(chosen_P - rejected_P - self.gamma)

    def reward(self, scores: PreferenceScores) -> tuple[Tensor, Tensor]:
        """alpha times the mean log-probability per token, of the chosen and the rejected completion."""
        chosen, rejected = scores.chosen, scores.rejected
        return self.alpha * chosen.logp_P / chosen.len_P, self.alpha * rejected.logp_P / rejected.len_P


LARGEST_EXPONENT = 80.0
"""Beyond it, e^x overflows in single precision."""


@block
class AlphaPO(PreferenceLossProtocol):
    """SimPO with a reshaped reward: from the logarithm (`alpha` 0) towards a power of the probability.

    p is the mean probability per token e^(l/|y|). Unlike SimPO's, alpha here is the shape (any sign; 0 is SimPO) and
    beta the scale. An exponent -alpha l/|y| above 80 counts as 80. Defaults are a published setting (gamma/beta 0.1).
    """

    config_name = "alpha_po"
    formula = (
        "L = -log sigma(beta r_w - beta r_l - gamma), r = (1 - p^-alpha)/alpha, p = e^(l/|y|); alpha = 0: r = l/|y|"
    )
    source = "Gupta et al. 2025, arXiv 2501.03884"

    alpha: float = 0.25
    beta: Positive = 2.5
    gamma: NonNegative = 0.25

    def __call__(self, scores: PreferenceScores) -> Tensor:
        chosen_P, rejected_P = self.reward(scores)
        return -F.logsigmoid(chosen_P - rejected_P - self.gamma)

    def reward(self, scores: PreferenceScores) -> tuple[Tensor, Tensor]:
        """beta r of the chosen and the rejected completion."""
        return self.beta * self._shape(scores.chosen.mean_logp_P), self.beta * self._shape(scores.rejected.mean_logp_P)

    def _shape(self, mean_logp_P: Tensor) -> Tensor:
        if self.alpha == 0:
            return mean_logp_P
        return -torch.expm1((-self.alpha * mean_logp_P).clamp(max=LARGEST_EXPONENT)) / self.alpha


@block
class ConfPO(PreferenceLossProtocol):
    """SimPO on low-confidence tokens: those less likely than the completion's mean token probability.

    The choice of tokens has no gradient. A pair of which a completion keeps no token (all equally likely, or only one)
    has loss 0 and counts in the mean, as in the authors' code. Defaults are the authors'.
    """

    config_name = "confpo"
    formula = (
        "L = -log sigma(beta m_w - beta m_l - gamma), m = the mean of log pi(y_t) over tokens t with "
        "pi(y_t) < mean_t pi(y_t)"
    )
    source = "Yoon et al. 2025, arXiv 2506.08712"

    beta: Positive = 1.5
    gamma: NonNegative = 1.6

    def __call__(self, scores: PreferenceScores) -> Tensor:
        chosen_P, rejected_P = self.reward(scores)
        loss_P = -F.logsigmoid(chosen_P - rejected_P - self.gamma)
        usable_P = _kept(scores.chosen).any(1) & _kept(scores.rejected).any(1)
        return torch.where(usable_P, loss_P, 0.0)

    def reward(self, scores: PreferenceScores) -> tuple[Tensor, Tensor]:
        """beta times the mean log-probability of the kept tokens (0 if there is none)."""
        return self.beta * _kept_mean(scores.chosen), self.beta * _kept_mean(scores.rejected)


def _kept(scored: CompletionLogps) -> Tensor:
    """Return which tokens are less likely than their completion's mean token probability, `[P, T]`."""
    probability_PT = scored.logp_PT.detach().exp() * scored.mask_PT
    mean_P = probability_PT.sum(1) / scored.len_P
    return scored.mask_PT & (probability_PT < mean_P[:, None])


def _kept_mean(scored: CompletionLogps) -> Tensor:
    kept_PT = _kept(scored)
    return (scored.logp_PT * kept_PT).sum(1) / kept_PT.sum(1).clamp(min=1)


@block
class CPO(PreferenceLossProtocol):
    """Contrastive preference optimization: DPO with a uniform reference, and imitation of the chosen.

    l is summed over tokens, nats; the negative log-likelihood is the mean over the batch's chosen tokens. Defaults are
    TRL's.
    """

    formula = "L = -log sigma(beta (l_w - l_l)) + nll_weight NLL(y_w), NLL a mean over chosen tokens"
    source = "Xu et al. 2024, arXiv 2401.08417"

    beta: Positive = 0.1
    nll_weight: NonNegative = 1.0

    def __call__(self, scores: PreferenceScores) -> Tensor:
        chosen_P, rejected_P = self.reward(scores)
        return -F.logsigmoid(chosen_P - rejected_P) + self.nll_weight * token_mean_nll(scores)

    def reward(self, scores: PreferenceScores) -> tuple[Tensor, Tensor]:
        """beta l, nats, of the chosen and the rejected completion."""
        return self.beta * scores.chosen.logp_P, self.beta * scores.rejected.logp_P


SURE = -1e-6
"""Mean log-probabilities above this one count as this one: at 0 the odds are infinite."""


@block
class ORPO(PreferenceLossProtocol):
    """Odds ratio preference optimization: imitation of the chosen, and the odds of chosen against rejected.

    o is the log-odds of the mean probability per token, nats; a mean log-probability above -1e-6 counts as -1e-6, so
    that certainty is finite. The negative log-likelihood is the mean over the batch's chosen tokens; TRL's covers the
    prompt as well. odds_weight 0.1 is the authors' and TRL's (`beta`).
    """

    formula = (
        "L = NLL(y_w) - odds_weight log sigma(o_w - o_l), o = m - log(1 - e^m), m = l/|y|, "
        "NLL a mean over chosen tokens"
    )
    source = "Hong et al. 2024, arXiv 2403.07691, Eqs. 6 and 7"

    odds_weight: NonNegative = 0.1

    def __call__(self, scores: PreferenceScores) -> Tensor:
        chosen_P, rejected_P = self.reward(scores)
        return token_mean_nll(scores) - self.odds_weight * F.logsigmoid(chosen_P - rejected_P)

    def reward(self, scores: PreferenceScores) -> tuple[Tensor, Tensor]:
        """o, the log-odds, of the chosen and the rejected completion."""
        return _log_odds(scores.chosen.mean_logp_P), _log_odds(scores.rejected.mean_logp_P)


def _log_odds(mean_logp_P: Tensor) -> Tensor:
    """log(p / (1 - p)) of p = e^mean."""
    sure_P = mean_logp_P.clamp(max=SURE)
    return sure_P - torch.log(-torch.expm1(sure_P))


@block
class SLiCHF(PreferenceLossProtocol):
    """Sequence likelihood calibration with human feedback: a hinge on log-likelihoods, and imitation of the chosen.

    Sums over tokens, nats; no reference. The imitation target is the chosen completion (the paper also takes an SFT
    target). Defaults are the HALOs repository's.
    """

    config_name = "slic_hf"
    formula = "L = max(0, delta - l_w + l_l) - nll_weight l_w"
    source = "Zhao et al. 2023, arXiv 2305.10425"

    delta: NonNegative = 1.0
    """The margin, nats per sequence."""
    nll_weight: NonNegative = 0.1

    def __call__(self, scores: PreferenceScores) -> Tensor:
        chosen_P, rejected_P = self.reward(scores)
        return (self.delta - (chosen_P - rejected_P)).clamp(min=0) - self.nll_weight * chosen_P

    def reward(self, scores: PreferenceScores) -> tuple[Tensor, Tensor]:
        """l, nats, of the chosen and the rejected completion."""
        return scores.chosen.logp_P, scores.rejected.logp_P
