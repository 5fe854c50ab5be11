"""Losses of the policy update: from new and old log-probabilities and advantages to one loss per row, `[B]`.

`contracts.PolicyLossProtocol` says what a loss must have; the union at the end is the registry. How token losses are
aggregated to a row is a named choice (`objectives/aggregation.py`).

A sampled token whose probability has become 0 (log-probability -inf) makes a ratio 0, which is finite; losses of the
log-probability itself (`reinforce`, `cispo`) become infinite, and the run stops as diverged.
"""

from __future__ import annotations

from typing import Annotated, Self

import torch
from pydantic import model_validator
from torch import Tensor

from overopt.config import Choice, NonNegative, Positive, block
from overopt.objectives.aggregation import Aggregation, aggregate
from overopt.objectives.contracts import PolicyLossProtocol
from overopt.types import PolicyUpdate, TokenLogits

MAX_LOG_RATIO = 80.0
"""exp of more overflows in float32, and the gradient of a clipped ratio would be 0 times infinity."""


def ratio(log_ratio: Tensor) -> Tensor:
    """Return pi_new / pi_old, kept finite."""
    return log_ratio.clamp(max=MAX_LOG_RATIO).exp()


def surrogates(advantage: Tensor, ratio: Tensor, low: float, high: float | None) -> tuple[Tensor, Tensor]:
    """Return -A rho and -A clip(rho, 1 - low, 1 + high); their maximum is PPO's loss. `high` None means `low`."""
    return -advantage * ratio, -advantage * ratio.clamp(1 - low, 1 + (low if high is None else high))


@block
class PPOClip(PolicyLossProtocol):
    """PPO's clipped surrogate with one ratio per sequence, as in TRL's RLOOTrainer.

    Rows `[B]`, in units of the advantage. With one epoch and one minibatch rho = 1 and the gradient is exactly
    REINFORCE with the given advantage. Sequence ratios are clipped much earlier than token ratios, since the tokens'
    log-ratios add up. `clip` is TRL's default; `clip_high` opens the upper side further (DAPO).
    """

    formula = "L_j = max(-A_j rho_j, -A_j clip(rho_j, 1 - clip, 1 + clip_high)), rho_j = pi_new(y_j) / pi_old(y_j)"
    source = "Schulman et al. 2017 (arXiv 1707.06347), Eq. 7; a ratio per sequence: TRL's RLOOTrainer"

    clip: Positive = 0.2
    clip_high: Positive | None = None
    """Upper side of the range; null: the same as `clip`."""

    def __call__(self, update: PolicyUpdate) -> Tensor:
        return torch.maximum(*self._terms(update))

    def clipped(self, update: PolicyUpdate) -> Tensor:
        """Rows whose clipped term is the larger one, so that they carry no gradient; bool `[B]`."""
        plain_B, clipped_B = self._terms(update)
        return clipped_B > plain_B

    def _terms(self, update: PolicyUpdate) -> tuple[Tensor, Tensor]:
        return surrogates(update.advantage_B, ratio(self._log_ratio(update)), self.clip, self.clip_high)

    def _log_ratio(self, update: PolicyUpdate) -> Tensor:
        """Log-ratios of the sequences, `[B]`."""
        return update.logp_BT.sum(1) - update.old_logp_BT.sum(1)


@block
class PPOClipToken(PolicyLossProtocol):
    """PPO's clipped surrogate with one ratio per token, as in GRPO, DAPO and Dr. GRPO.

    Rows `[B]`, in units of the advantage. All tokens of a completion share its advantage. The aggregation distinguishes
    the methods: `sequence_mean` GRPO, `token_mean` DAPO (with clip_high 0.28), `fixed_length` Dr. GRPO. TRL's `dapo`
    is the mean over the tokens of an accumulation window, which is a minibatch here.
    """

    config_name = "ppo_clip_token"
    formula = (
        "l_t = max(-A rho_t, -A clip(rho_t, 1 - clip, 1 + clip_high)), rho_t = pi_new(y_t) / pi_old(y_t); aggregated"
    )
    source = "Schulman et al. 2017 (arXiv 1707.06347), Eq. 7; Shao et al. 2024 (GRPO)"

    clip: Positive = 0.2
    clip_high: Positive | None = None
    """Upper side of the range; null: the same as `clip`."""
    aggregation: Aggregation = "token_mean"

    def __call__(self, update: PolicyUpdate) -> Tensor:
        return aggregate(torch.maximum(*self._terms(update)) * update.mask_BT, update, self.aggregation)

    def clipped(self, update: PolicyUpdate) -> Tensor:
        """Each row's share of tokens whose clipped term is the larger one; `[B]`."""
        plain_BT, clipped_BT = self._terms(update)
        return ((clipped_BT > plain_BT) & update.mask_BT).sum(1) / update.length_B.clamp(min=1)

    def _terms(self, update: PolicyUpdate) -> tuple[Tensor, Tensor]:
        return surrogates(update.advantage_B[:, None], ratio(update.log_ratio_BT), self.clip, self.clip_high)


@block
class Reinforce(PolicyLossProtocol):
    """REINFORCE: the advantage times the log-probability; no ratio, no clip.

    Rows `[B]`. The gradient is that of the expected reward as long as the rollouts are the policy's own: use one epoch
    and one minibatch; later passes are off-policy and uncorrected. Only `sequence_sum` (and its constant multiple
    `fixed_length`) is unbiased; the value of the loss means nothing by itself.
    """

    formula = "L_j = -A_j sum_t log pi_new(y_t), aggregated"
    source = "Williams 1992; Ahmadian et al. 2024 (arXiv 2402.14740)"

    aggregation: Aggregation = "sequence_sum"

    def __call__(self, update: PolicyUpdate) -> Tensor:
        return aggregate(-update.advantage_B[:, None] * update.logp_BT, update, self.aggregation)


@block
class GSPO(PPOClip):
    """GSPO: PPO's clipped surrogate with the geometric mean of the token ratios as the ratio of a sequence.

    Rows `[B]`, in units of the advantage. s is near 1 even for long completions, so the clip range is small; its
    defaults are the paper's (section 5.1). On-policy the gradient is A grad log pi(y|x) / |y|: long completions count
    less, as with GRPO's `sequence_mean`.
    """

    config_name = "gspo"
    formula = (
        "L_j = max(-A_j s_j, -A_j clip(s_j, 1 - clip, 1 + clip_high)), s_j = (pi_new(y_j) / pi_old(y_j))^(1/|y_j|)"
    )
    source = "Zheng et al. 2025, GSPO (arXiv 2507.18071), section 4"

    clip: Positive = 3e-4
    clip_high: Positive | None = 4e-4
    """Upper side of the range; null: the same as `clip`."""

    def _log_ratio(self, update: PolicyUpdate) -> Tensor:
        """Mean log-ratios of the sequences' tokens, `[B]`."""
        return update.log_ratio_BT.sum(1) / update.length_B.clamp(min=1)


@block
class CISPO(PolicyLossProtocol):
    """CISPO: each token's REINFORCE term, weighted by its clipped ratio, which carries no gradient.

    Rows `[B]`. No token loses its gradient: where PPO's clip stops it, CISPO only bounds its weight. The bounds are
    of the ratio itself; 5 is TRL's suggestion (ScaleRL), and no lower bound is the paper's choice.
    """

    config_name = "cispo"
    formula = "l_t = -sg[clip(rho_t, minimum, maximum)] A log pi_new(y_t); aggregated"
    source = "MiniMax 2025, MiniMax-M1 (arXiv 2506.13585); maximum: ScaleRL (arXiv 2510.13786)"

    maximum: Positive = 5.0
    minimum: NonNegative = 0.0
    aggregation: Aggregation = "token_mean"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.minimum > self.maximum:
            raise ValueError(f"minimum: {self.minimum} is above maximum {self.maximum}")
        return self

    def __call__(self, update: PolicyUpdate) -> Tensor:
        weight_BT = ratio(update.log_ratio_BT.detach()).clamp(self.minimum, self.maximum)
        return aggregate(-weight_BT * update.advantage_B[:, None] * update.logp_BT, update, self.aggregation)

    def clipped(self, update: PolicyUpdate) -> Tensor:
        """Each row's share of tokens whose weight is cut; `[B]`."""
        ratio_BT = ratio(update.log_ratio_BT)
        cut_BT = (ratio_BT < self.minimum) | (ratio_BT > self.maximum)
        return (cut_BT & update.mask_BT).sum(1) / update.length_B.clamp(min=1)


@block
class LCO(PolicyLossProtocol):
    """Logit-space distillation of the advantage over the whole vocabulary (after the authors' code).

    Rows `[B]`, nats. A_hat(a) = A (1 - pi_old(a)) for the sampled token a, A_hat(b) = -pi_old(b) A /
    max(1 - pi_old(a), 0.1) for the others; q proportional to pi_old exp(A_hat / beta), where beta is `beta_positive` if
    A > 0 and `beta_negative` if A <= 0 (the code's defaults). Needs dense logits, old and new, which exist for a chunk
    of tokens at a time. The paper's own text was not seen.
    """

    config_name = "lco"
    needs = frozenset({"logits", "old_logits"})
    formula = "L_j = sum_t KL(q_t || pi_new,t), q_t proportional to pi_old,t exp(A_hat_t / beta)"
    source = "the authors' code"

    beta_positive: Positive = 0.1
    beta_negative: Positive = 10.0
    aggregation: Aggregation = "sequence_sum"

    def __call__(self, update: PolicyUpdate) -> Tensor:
        def divergence(logits: TokenLogits) -> Tensor:
            assert logits.old_MV is not None
            target_MV = self._target(logits.old_MV, logits.token_M, update.advantage_B[logits.row_M])
            return (target_MV.exp() * (target_MV - logits.new_MV.log_softmax(-1))).sum(-1)

        return aggregate(update.per_token(divergence), update, self.aggregation)

    def _target(self, old_logits_MV: Tensor, token_M: Tensor, advantage_M: Tensor) -> Tensor:
        """log q, detached."""
        with torch.no_grad():
            old_MV = old_logits_MV.log_softmax(-1)
            probability_MV = old_MV.exp()
            sampled_M1 = probability_MV.gather(1, token_M[:, None])
            advantage_M1 = advantage_M[:, None]
            shift_MV = -probability_MV * advantage_M1 / (1 - sampled_M1).clamp(min=0.1)
            shift_MV.scatter_(1, token_M[:, None], advantage_M1 * (1 - sampled_M1))
            beta_M1 = torch.where(advantage_M1 > 0, self.beta_positive, self.beta_negative)
            return (old_MV + shift_MV / beta_M1).log_softmax(-1)


PolicyLoss = Annotated[PPOClip | PPOClipToken | Reinforce | GSPO | CISPO | LCO, Choice(PolicyLossProtocol)]
