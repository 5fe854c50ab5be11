"""Optimal policies, preference models and gradients in closed form, for one prompt with N candidate completions.

Tensors are float64 `[..., N]`; policies are log-probabilities. `length` is |y|, `alpha` and `beta` are temperatures in
units of the reward. Equation numbers are those of "Failure Modes of Maximum Entropy RLHF" (arXiv 2509.20265).
"""

from __future__ import annotations

import torch
from torch import Tensor

NEWTON_STEPS = 20
"""Newton's method needs about eight: its function is close to linear on both sides of the root."""


# Optimal policies


def maxent_optimum(reward_N: Tensor, alpha: float) -> Tensor:
    """argmax_pi E[r] + alpha H(pi): log pi = r/alpha - log Z (Eq. 3 and 8)."""
    return (reward_N / alpha).log_softmax(-1)


def log_partition(reward_N: Tensor, alpha: float) -> Tensor:
    """log Z = log sum_y exp(r/alpha); alpha log Z is the value of the optimum."""
    return (reward_N / alpha).logsumexp(-1)


def kl_optimum(reward_N: Tensor, ref_logp_N: Tensor, beta: float) -> Tensor:
    """argmax_pi E[r] - beta KL(pi || ref): log pi = log ref + r/beta + constant."""
    return (ref_logp_N + reward_N / beta).log_softmax(-1)


def length_normalized_maximizer(reward_N: Tensor, length_N: Tensor, beta: float) -> Tensor:
    """argmax_pi E[r - (beta/|y|) log pi], the objective of Eq. 7: log pi = |y| (r - lambda)/beta - 1.

    lambda makes pi sum to 1. The -1 comes from differentiating log pi itself, and does not cancel where lengths differ.
    """
    return _at_level(reward_N, length_N, beta, offset=1.0)


def trained_fixed_point(reward_N: Tensor, length_N: Tensor, beta: float) -> Tensor:
    """Where policy gradient on the detached reward r - (beta/|y|) log pi stops: log pi = |y| (r - c)/beta.

    There the shaped reward is the same number c for every candidate, so every advantage is 0.
    """
    return _at_level(reward_N, length_N, beta, offset=0.0)


def naive_substitution(reward_N: Tensor, length_N: Tensor, beta: float) -> Tensor:
    """Eq. 3 with "temperature beta/|y|" read into it: pi proportional to exp(|y| r/beta)."""
    return (length_N * reward_N / beta).log_softmax(-1)


def _at_level(reward_N: Tensor, length_N: Tensor, beta: float, offset: float) -> Tensor:
    """log pi = |y| (r - c)/beta - offset, with the c for which pi sums to 1.

    log sum_y pi is convex and falls with c, and at the starting point the largest term alone is 1: from there Newton's
    method climbs to the root without passing it.
    """
    level = (reward_N - offset * beta / length_N).amax(-1, keepdim=True)
    for _ in range(NEWTON_STEPS):
        logp_N = length_N * (reward_N - level) / beta - offset
        mean_length = (logp_N.softmax(-1) * length_N).sum(-1, keepdim=True)
        level = level + logp_N.logsumexp(-1, keepdim=True) * beta / mean_length
    return length_N * (reward_N - level) / beta - offset


# Preferences


def bradley_terry(first: Tensor, second: Tensor) -> Tensor:
    """P(first preferred) = exp(r_1) / (exp(r_1) + exp(r_2)), elementwise (Eq. 1 and 9)."""
    return torch.stack([first, second]).softmax(0)[0]


def plackett_luce(reward_K: Tensor) -> Tensor:
    """P of a ranking, given the rewards `[..., K]` best first: prod_k exp(r_k) / sum_{j>=k} exp(r_j) (Eq. 11)."""
    remaining_K = reward_K.flip(-1).logcumsumexp(-1).flip(-1)
    return (reward_K - remaining_K).sum(-1).exp()


def projection(reward_N: Tensor, alpha: float) -> Tensor:
    """f(r) = r - alpha log Z: the member of r's class {r + f(x)} that has the form alpha log pi (Theorem 1)."""
    return reward_N - alpha * (reward_N / alpha).logsumexp(-1, keepdim=True)


# Losses


def maxent_pair_loss(chosen_logp: Tensor, rejected_logp: Tensor, alpha: float) -> Tensor:
    """-log sigma(alpha log pi(y_w) - alpha log pi(y_l)): Bradley-Terry likelihood through Eq. 4 (C.2)."""
    gap = alpha * (rejected_logp - chosen_logp)
    return torch.logaddexp(gap, torch.zeros_like(gap))


def simpo_gradient(
    chosen_logp: Tensor, rejected_logp: Tensor, chosen_len: Tensor, rejected_len: Tensor, alpha: float, gamma: float
) -> tuple[Tensor, Tensor]:
    """d loss / d log pi(y_w) and d loss / d log pi(y_l) of SimPO (C.4, with |y| and gamma).

    -sigma(-u) alpha/|y_w| and +sigma(-u) alpha/|y_l|, where u = alpha l_w/|y_w| - alpha l_l/|y_l| - gamma.
    """
    chosen, rejected = alpha / chosen_len, alpha / rejected_len
    weight = torch.sigmoid(rejected * rejected_logp - chosen * chosen_logp + gamma)
    return -weight * chosen, weight * rejected


def length_correction(length_N: Tensor, beta: float) -> Tensor:
    """The extra reward -beta/|y| that makes the detached reward's gradient that of Eq. 7's objective."""
    return -beta / length_N


def leave_one_out(reward_PG: Tensor) -> Tensor:
    """RLOO's advantage by its other formula: G/(G-1) times the distance from the group's mean."""
    size = reward_PG.shape[-1]
    return size / (size - 1) * (reward_PG - reward_PG.mean(-1, keepdim=True))
