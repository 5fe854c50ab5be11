"""The objectives that training uses, as functions of log-probabilities and lengths of whole candidates."""

from __future__ import annotations

import torch
from torch import Tensor

from overopt.objectives.advantages import RLOO
from overopt.objectives.pair_losses import DPO, SimPO
from overopt.objectives.ranking_losses import PlackettLuceSimPO
from overopt.objectives.regularizers import EntropyLengthNormalized, EntropySum
from overopt.types import CompletionLogps, PreferenceScores, Rewards, Rollouts


def simpo_loss(
    chosen_logp: Tensor, rejected_logp: Tensor, chosen_len: Tensor, rejected_len: Tensor, alpha: float, gamma: float
) -> Tensor:
    """SimPO of each pair."""
    return SimPO(alpha=alpha, gamma=gamma)(_as_pairs(chosen_logp, rejected_logp, chosen_len, rejected_len))


def simpo_reward(
    chosen_logp: Tensor, rejected_logp: Tensor, chosen_len: Tensor, rejected_len: Tensor, alpha: float
) -> tuple[Tensor, Tensor]:
    """SimPO's implicit rewards; gamma is no part of them."""
    return SimPO(alpha=alpha, gamma=0.0).reward(_as_pairs(chosen_logp, rejected_logp, chosen_len, rejected_len))


def dpo_loss(
    chosen_logp: Tensor, rejected_logp: Tensor, ref_chosen_logp: Tensor, ref_rejected_logp: Tensor, beta: float
) -> Tensor:
    """DPO of each pair; it sums over tokens, so that lengths do not matter."""
    one = torch.ones_like(chosen_logp)
    chosen, rejected = _as_scored(chosen_logp, one, ref_chosen_logp), _as_scored(rejected_logp, one, ref_rejected_logp)
    return DPO(beta=beta)(PreferenceScores((chosen, rejected)))


def ranking_loss(logp_PK: Tensor, alpha: float) -> Tensor:
    """Plackett-Luce SimPO as the paper derives it (C.3): sums over tokens, no margin; columns best first."""
    ranked = tuple(_as_scored(logp_P, torch.ones_like(logp_P)) for logp_P in logp_PK.unbind(1))
    return PlackettLuceSimPO(alpha=alpha, gamma=0.0, length="sum")(PreferenceScores(ranked))


def _as_pairs(chosen_logp: Tensor, rejected_logp: Tensor, chosen_len: Tensor, rejected_len: Tensor) -> PreferenceScores:
    return PreferenceScores((_as_scored(chosen_logp, chosen_len), _as_scored(rejected_logp, rejected_len)))


def _as_scored(logp_P: Tensor, length_P: Tensor, ref_logp_P: Tensor | None = None) -> CompletionLogps:
    logp_PT, mask_PT = as_tokens(logp_P, length_P)
    return CompletionLogps(logp_PT, mask_PT, None if ref_logp_P is None else as_tokens(ref_logp_P, length_P)[0])


def rloo(reward_PG: Tensor) -> Tensor:
    """Leave-one-out advantages; lengths do not matter."""
    return RLOO()(Rewards(reward_PG, torch.ones_like(reward_PG)))


def entropy_sum(logp_N: Tensor, length_N: Tensor, coef: float) -> Tensor:
    """The detached bonus of Eq. 6."""
    return EntropySum(coef=coef)(_as_rollouts(logp_N, length_N), coef)


def entropy_length_normalized(logp_N: Tensor, length_N: Tensor, coef: float) -> Tensor:
    """The detached bonus of Eq. 7."""
    return EntropyLengthNormalized(coef=coef)(_as_rollouts(logp_N, length_N), coef)


def entropy_with_correction(logp_N: Tensor, length_N: Tensor, coef: float) -> Tensor:
    """The detached bonus of Eq. 7 with `gradient_correction`."""
    return EntropyLengthNormalized(coef=coef, gradient_correction=True)(_as_rollouts(logp_N, length_N), coef)


def _as_rollouts(logp_N: Tensor, length_N: Tensor) -> Rollouts:
    logp_NT, mask_NT = as_tokens(logp_N, length_N)
    score_N = torch.zeros_like(logp_N)
    return Rollouts(logp_BT=logp_NT, mask_BT=mask_NT, score_B=score_N, group_size=len(logp_N), temperature=1.0)


def as_tokens(logp_N: Tensor, length_N: Tensor) -> tuple[Tensor, Tensor]:
    """Spread each candidate's log-probability evenly over its |y| tokens; return these and their mask, `[N, T]`."""
    mask_NT = torch.arange(int(length_N.max())) < length_N[:, None]
    return torch.where(mask_NT, (logp_N / length_N)[:, None], 0.0), mask_NT
