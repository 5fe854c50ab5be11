"""Regularizers that act in the loss: differentiable, added to the policy loss of a row.

Each is called with the current coefficient and returns rows `[B]` that are added to the loss and minimized. "Expected
gradient" in the docstrings is for completions drawn from the policy as it is, summed over tokens; from the second pass
over the same rollouts on, they are drawn from an older policy, and the expectation is off by as much.

d = log pi(y|x) - log pi_ref(y|x). The estimators k1, k2, k3 (Schulman 2020) differ in value and, in the loss, in what
they minimize: only k2 minimizes the divergence that all three estimate. `per: sequence` takes d of the whole
completion, `per: token` of each token, as GRPO does; then the expected gradient is that of the tokens' divergences with
the prefixes held fixed, which neglects how a token leads to prefixes where the policies differ.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal, Self

import torch
from pydantic import model_validator
from torch import Tensor

from overopt.config import block
from overopt.objectives.aggregation import Aggregation, aggregate
from overopt.objectives.contracts import LossRegularizerProtocol
from overopt.objectives.controllers import Coefficient, NonNegativeCoefficient
from overopt.objectives.kl import k2
from overopt.types import PolicyUpdate, TokenLogits

MAX_LOG_RATIO = 20.0
"""Beyond it exp is continued by its tangent: finite, and the gradient keeps its sign (clamping would reverse it)."""
LOWEST = -1e4
"""The log-probability of an impossible token, nats: a divergence from it is large, not infinite."""


def _k3(log_ratio: Tensor) -> Tensor:
    """exp(-d) - 1 + d, with a tangent where exp grows too large."""
    inside = (-log_ratio).clamp(max=MAX_LOG_RATIO)
    return torch.expm1(inside) + (-log_ratio - inside) * inside.exp() + log_ratio


@block
class _SampledKL(LossRegularizerProtocol, ABC):
    """An estimate of KL(pi || ref) from the sampled tokens alone."""

    needs = frozenset({"reference"})

    coef: NonNegativeCoefficient = 0.05
    per: Literal["sequence", "token"] = "sequence"
    aggregation: Aggregation = "sequence_sum"
    """How token estimates are aggregated to a row; only with `per: token`."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.per == "sequence" and self.aggregation != "sequence_sum":
            raise ValueError(f"aggregation: {self.aggregation} is for token estimates; add per: token")
        return self

    def __call__(self, update: PolicyUpdate, coef: float) -> Tensor:
        if self.per == "sequence":
            return coef * self.estimate(update.ref_log_ratio_BT.sum(1))
        return coef * aggregate(self.estimate(update.ref_log_ratio_BT), update, self.aggregation)

    @abstractmethod
    def estimate(self, log_ratio: Tensor) -> Tensor:
        """Return the estimate from log-ratios, elementwise; 0 at 0."""


@block
class K1(_SampledKL):
    """The k1 estimator in the loss: its expected gradient is 0. Nats; `[B]`.

    E[grad d] = E[grad log pi(y|x)] = 0, so it adds noise and regularizes nothing (with `sequence_mean` it adds a pull
    on lengths). It is here to show that; in the reward k1 is right (`regularizers: [kl]`). Needs the reference.
    """

    formula = "L = coef d, d = log pi(y|x) - log pi_ref(y|x)"
    source = "Schulman 2020, Approximating KL divergence; the default coefficient is our choice"

    def estimate(self, log_ratio: Tensor) -> Tensor:
        return log_ratio


@block
class K2(_SampledKL):
    """The k2 estimator in the loss: its expected gradient is that of coef KL(pi || ref), exactly. Nats; `[B]`.

    Its value is a biased estimate of the divergence, its gradient d grad log pi(y|x) an unbiased one of the
    divergence's: the same as k1 in the reward. `per: token` has the gradient of `token_kl_reverse`. Needs the
    reference.
    """

    formula = "L = coef d^2 / 2, d = log pi(y|x) - log pi_ref(y|x)"
    source = "Schulman 2020, Approximating KL divergence; the default coefficient is our choice"

    def estimate(self, log_ratio: Tensor) -> Tensor:
        return k2(log_ratio)


@block
class K3(_SampledKL):
    """The k3 estimator in the loss, GRPO's: its expected gradient is that of coef KL(ref || pi), the other divergence.

    E[k3] = KL(pi || ref), but grad k3 = (1 - pi_ref/pi) grad log pi(y|x), whose mean is the gradient of KL(ref || pi).
    Nats; `[B]`. `per: token` has the gradient of `token_kl_forward`. TRL multiplies each token's k3 by its ratio
    unless told otherwise (1.16), which has the gradient of k2. Needs the reference.
    """

    formula = "L = coef (exp(-d) - 1 + d), d = log pi(y|x) - log pi_ref(y|x)"
    source = "Schulman 2020; Shao et al. 2024 (GRPO, arXiv 2402.03300), Eq. 4; coef: our choice"

    def estimate(self, log_ratio: Tensor) -> Tensor:
        return _k3(log_ratio)


@block
class TokenKLReverse(LossRegularizerProtocol):
    """Exact KL(pi || ref) of each token's distribution: "reverse", it seeks modes of the reference. Nats; `[B]`.

    Expected gradient: that of sum_t KL(pi_t || ref_t) with the prefixes held fixed. For completions of one token that
    is grad KL(pi || ref); for longer ones the full gradient takes the penalty in the reward. Needs logits of both
    models, which exist for a chunk of tokens at a time. A token that is impossible under the reference has
    log-probability -10^4 here.
    """

    config_name = "token_kl_reverse"
    needs = frozenset({"logits", "ref_logits"})
    formula = "L = coef sum_t sum_v pi_t(v) (log pi_t(v) - log pi_ref,t(v))"
    source = "textbook; the default coefficient is our choice"

    coef: NonNegativeCoefficient = 0.05
    aggregation: Aggregation = "sequence_sum"

    def __call__(self, update: PolicyUpdate, coef: float) -> Tensor:
        return coef * aggregate(update.per_token(_kl_reverse), update, self.aggregation)


@block
class TokenKLForward(LossRegularizerProtocol):
    """Exact KL(ref || pi) of each token's distribution: "forward", it covers the reference. Nats; `[B]`.

    Expected gradient: that of sum_t KL(ref_t || pi_t) with the prefixes, drawn from the policy, held fixed. Needs
    logits of both models, which exist for a chunk of tokens at a time.
    """

    config_name = "token_kl_forward"
    needs = frozenset({"logits", "ref_logits"})
    formula = "L = coef sum_t sum_v pi_ref,t(v) (log pi_ref,t(v) - log pi_t(v))"
    source = "textbook; the default coefficient is our choice"

    coef: NonNegativeCoefficient = 0.05
    aggregation: Aggregation = "sequence_sum"

    def __call__(self, update: PolicyUpdate, coef: float) -> Tensor:
        return coef * aggregate(update.per_token(_kl_forward), update, self.aggregation)


@block
class TokenEntropy(LossRegularizerProtocol):
    """Exact entropy of each token's distribution as a bonus. Nats per token; `[B]`. coef < 0 minimizes entropy.

    Expected gradient: that of -coef sum_t H(pi_t) with the prefixes held fixed, aggregated; the entropy of the whole
    completion also depends on which prefixes are reached, and that part takes `entropy_sum` in the reward. Alone, with
    coef -1 and no reward, it is EM-FT (Agarwal et al. 2025). Needs logits, which exist for a chunk of tokens at a time.
    """

    needs = frozenset({"logits"})
    formula = "L = -coef sum_t H(pi_t), H(p) = -sum_v p(v) log p(v)"
    source = "Mnih et al. 2016 (A3C, arXiv 1602.01783), section 4; the default coefficient is our choice"

    coef: Coefficient = 0.01
    aggregation: Aggregation = "token_mean"

    def __call__(self, update: PolicyUpdate, coef: float) -> Tensor:
        return -coef * aggregate(update.per_token(_entropy), update, self.aggregation)


def _log_probability(logits_MV: Tensor) -> Tensor:
    """Finite, so that 0 log 0 is 0."""
    return logits_MV.log_softmax(-1).clamp(min=LOWEST)


def _kl_reverse(logits: TokenLogits) -> Tensor:
    assert logits.ref_MV is not None
    new_MV = _log_probability(logits.new_MV)
    return (logits.new_MV.softmax(-1) * (new_MV - _log_probability(logits.ref_MV))).sum(-1)


def _kl_forward(logits: TokenLogits) -> Tensor:
    assert logits.ref_MV is not None
    ref_MV = _log_probability(logits.ref_MV)
    return (logits.ref_MV.softmax(-1) * (ref_MV - _log_probability(logits.new_MV))).sum(-1)


def _entropy(logits: TokenLogits) -> Tensor:
    return -(logits.new_MV.softmax(-1) * _log_probability(logits.new_MV)).sum(-1)
