"""The legend of shape suffixes, and the dataclasses that several rooms exchange.

Shape suffixes, used throughout the package:

| suffix | axis                                                                 |
|--------|----------------------------------------------------------------------|
| `P`    | prompts (for pairs: pairs)                                            |
| `G`    | completions sampled for one prompt                                    |
| `B`    | rows, one a completion; `B = P*G`, row `p*G + g` is sample g of prompt p |
| `T`    | completion tokens, right-padded; masked entries are 0; EOS is a token |
| `V`    | vocabulary                                                            |
| `K`    | completions ranked for one prompt, the best first; a pair is K = 2     |
| `M`    | real completion tokens of a batch, flattened                          |

Log-probabilities are in nats and always those of the tempered policy `softmax(logits / temperature)`.
This module imports torch for type checking only, so that rooms without torch can use it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from overopt.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class PromptRecord:
    """A prompt, with the reference completion if there is one. `prompt_id` is unique in its data set."""

    prompt_id: str
    prompt: str
    reference: str | None = None
    meta: dict[str, Any] = field(default_factory=dict)
    place: str = field(default="", compare=False)
    """FILE:LINE that it was read from, for error messages."""
    cuttable: tuple[int, int] | None = None
    """Start and end of the part of the prompt that loses its end if the prompt is too long; None: none does."""


@dataclass(frozen=True, slots=True)
class Completion:
    """A completion's text, without EOS; `ended` says whether EOS followed it (else it was cut at the limit)."""

    text: str
    ended: bool = True


@dataclass(frozen=True, slots=True)
class PreferenceRecord:
    """Two completions of one prompt, the first preferred to the second."""

    prompt_id: str
    prompt: str
    chosen: Completion
    rejected: Completion
    meta: dict[str, Any] = field(default_factory=dict)
    place: str = field(default="", compare=False)
    cuttable: tuple[int, int] | None = None

    @property
    def ranked(self) -> tuple[Completion, ...]:
        """Best first."""
        return self.chosen, self.rejected


@dataclass(frozen=True, slots=True)
class RankingRecord:
    """More than two completions of one prompt, the best first."""

    prompt_id: str
    prompt: str
    ranked: tuple[Completion, ...]
    meta: dict[str, Any] = field(default_factory=dict)
    place: str = field(default="", compare=False)
    cuttable: tuple[int, int] | None = None


Preference = PreferenceRecord | RankingRecord
"""What a preference loss is trained on."""


def preference(
    prompt_id: str,
    prompt: str,
    ranked: tuple[Completion, ...],
    meta: dict[str, Any],
    place: str = "",
    cuttable: tuple[int, int] | None = None,
) -> Preference:
    """Return the record of two or more ranked completions, given best first."""
    if len(ranked) > 2:
        return RankingRecord(prompt_id, prompt, ranked, meta, place, cuttable)
    chosen, rejected = ranked
    return PreferenceRecord(prompt_id, prompt, chosen, rejected, meta, place, cuttable)


CUT = "long prompt, cut to fit"
"""The reason under which prompts are counted that were cut; none of them is left out."""


@dataclass(slots=True)
class Dropped:
    """Counts the records that were left out, by reason. Every reader fills one; it is saved in `run.json`."""

    reasons: Counter[str] = field(default_factory=Counter)
    kept: int | None = None
    """How many records are used; None if the stage does not say."""

    def add(self, reason: str, count: int = 1) -> None:
        self.reasons[reason] += count

    @property
    def left_out(self) -> dict[str, int]:
        """The counts without those of prompts that were cut."""
        return {reason: count for reason, count in self.reasons.items() if reason != CUT}


@dataclass(slots=True)
class Rollouts:
    """Completions sampled from the policy for P prompts, G each, and what was measured on them."""

    logp_BT: Tensor
    """Log-probability of each sampled token under the policy that sampled it, at `temperature`."""
    mask_BT: Tensor
    """True on real tokens, EOS included."""
    score_B: Tensor
    """The reward model's score after the missing-EOS rule, plus the user's reward functions; 0 without either."""
    group_size: int
    """G, completions sampled per prompt."""
    temperature: float
    ref_logp_BT: Tensor | None = None
    """The same tokens under the reference, at the same temperature."""
    gold_B: Tensor | None = None
    entropy_BT: Tensor | None = None
    """Exact entropy of the distribution each token was drawn from, nats."""
    max_len: int = 0
    """The limit on a completion's length, in tokens; 0 means T."""
    progress: float = 0.0
    """The fraction of the run's updates that were made before this one, in [0, 1)."""
    logp_at: Callable[[float], Tensor] | None = None
    """Log-probabilities of the same tokens, `[B, T]`, under the same policy at another temperature, without gradient:
    one forward pass each time it is asked."""

    @property
    def length_B(self) -> Tensor:
        """|y|: real tokens, EOS included."""
        return self.mask_BT.sum(1)

    @property
    def sequence_logp_B(self) -> Tensor:
        """log pi(y|x), summed over tokens."""
        return self.logp_BT.sum(1)

    @property
    def sequence_kl_B(self) -> Tensor:
        """log pi(y|x) - log pi_ref(y|x): the k1 estimate of KL(pi || ref), nats per sequence."""
        if self.ref_logp_BT is None:
            raise ValueError("these rollouts carry no reference log-probabilities")
        return (self.logp_BT - self.ref_logp_BT).sum(1)

    @property
    def token_entropy(self) -> float:
        """Mean exact entropy of a token's distribution over the real tokens of the batch, nats."""
        if self.entropy_BT is None:
            raise ValueError("these rollouts carry no entropies")
        return float(self.entropy_BT.sum() / self.mask_BT.sum().clamp(min=1))

    @property
    def padding_B(self) -> Tensor:
        """How many tokens each completion is shorter than the limit."""
        return (self.max_len or self.mask_BT.shape[1]) - self.length_B


@dataclass(slots=True)
class Rewards:
    """The input of an advantage: shaped rewards (score plus regularizers) of P groups of G completions, detached."""

    reward_PG: Tensor
    length_PG: Tensor
    """|y|: real tokens, EOS included."""
    greedy_P: Tensor | None = None
    """Shaped reward of each prompt's greedy completion; only if the advantage needs `greedy`."""


@dataclass(slots=True)
class TokenLogits:
    """Logits divided by the temperature, at M completion tokens: all tokens of a batch, or a chunk of them."""

    new_MV: Tensor
    """The policy's; these carry gradients."""
    token_M: Tensor
    """The sampled token."""
    row_M: Tensor
    """The row of the batch it stands in."""
    old_MV: Tensor | None = None
    """Log-probabilities under the policy that sampled; only if `old_logits` are needed."""
    ref_MV: Tensor | None = None
    """Log-probabilities under the reference; only if `ref_logits` are needed."""

    def map(self, function: Callable[[TokenLogits], Tensor]) -> Tensor:
        """Return the function's values `[M]`, computed in one piece."""
        return function(self)


class LogitSource(Protocol):
    """Evaluates functions of each token's logits chunk by chunk, so that `[M, V]` need never exist for all tokens."""

    def map(self, function: Callable[[TokenLogits], Tensor]) -> Tensor:
        """Return the function's values `[M]`, in the order of tokens, differentiable; it is called chunk by chunk."""


@dataclass(slots=True)
class PolicyUpdate:
    """The input of a policy loss: rows of completions. The new log-probabilities carry gradients, the rest does not.

    The rows may be a micro-batch: the loss is the mean over all rows of the minibatch, of which `mean_len` is known.
    """

    logp_BT: Tensor
    old_logp_BT: Tensor
    mask_BT: Tensor
    advantage_B: Tensor
    ref_logp_BT: Tensor | None = None
    logits: LogitSource | None = None
    """Only if the loss or a regularizer needs `logits`."""
    mean_len: float = 0.0
    """Mean |y| over all rows of the minibatch; 0 means over these rows."""
    max_len: int = 0
    """The limit on a completion's length, in tokens; 0 means T."""

    def __post_init__(self) -> None:
        self.mean_len = self.mean_len or float(self.length_B.sum()) / max(1, len(self.length_B))
        self.max_len = self.max_len or self.mask_BT.shape[1]

    @property
    def length_B(self) -> Tensor:
        """|y|: real tokens, EOS included."""
        return self.mask_BT.sum(1)

    @property
    def log_ratio_BT(self) -> Tensor:
        """log pi_new(token) - log pi_old(token); 0 on padding."""
        return self.logp_BT - self.old_logp_BT

    @property
    def ref_log_ratio_BT(self) -> Tensor:
        """log pi_new(token) - log pi_ref(token); 0 on padding."""
        if self.ref_logp_BT is None:
            raise ValueError("this update carries no reference log-probabilities")
        return self.logp_BT - self.ref_logp_BT

    def per_token(self, function: Callable[[TokenLogits], Tensor]) -> Tensor:
        """Return a function of each token's logits, `[B, T]`, 0 on padding; differentiable."""
        if self.logits is None:
            raise ValueError("this update carries no logits; name `logits` among the needs")
        value_M = self.logits.map(function)
        return value_M.new_zeros(self.mask_BT.shape).masked_scatter(self.mask_BT, value_M)


@dataclass(slots=True)
class CompletionLogps:
    """Log-probabilities of one completion for each of P prompts: the policy's, with gradients, and the reference's.

    No loss is defined for a completion without tokens or for a token of probability 0: both are refused here.
    """

    logp_PT: Tensor
    mask_PT: Tensor
    """True on real tokens, EOS included."""
    ref_logp_PT: Tensor | None = None
    logits: LogitSource | None = None
    """The policy's at the real tokens, row by row; only if the loss needs `logits`."""

    def __post_init__(self) -> None:
        if not bool(self.mask_PT.any(1).all()):
            raise UserError("mask_PT: a completion without tokens; leave its record out")
        for name in ("logp_PT", "ref_logp_PT"):
            value = getattr(self, name)
            if value is not None and bool((value == float("-inf")).any()):
                raise UserError(f"{name}: a token of probability 0 (log-probability -inf); check the model's weights")

    @property
    def logp_P(self) -> Tensor:
        """log pi(y|x), summed over tokens."""
        return self.logp_PT.sum(1)

    @property
    def len_P(self) -> Tensor:
        """|y|: real tokens, EOS included."""
        return self.mask_PT.sum(1)

    @property
    def mean_logp_P(self) -> Tensor:
        """log pi(y|x) / |y|, nats per token."""
        return self.logp_P / self.len_P

    @property
    def ref_logp_P(self) -> Tensor:
        """log pi_ref(y|x), summed over tokens."""
        if self.ref_logp_PT is None:
            raise ValueError("these completions carry no reference log-probabilities; name `reference` among the needs")
        return self.ref_logp_PT.sum(1)

    @property
    def log_ratio_P(self) -> Tensor:
        """log pi(y|x) - log pi_ref(y|x), summed over tokens."""
        return self.logp_P - self.ref_logp_P

    def per_token(self, function: Callable[[TokenLogits], Tensor]) -> Tensor:
        """Return a function of each token's logits, `[P, T]`, 0 on padding; differentiable."""
        if self.logits is None:
            raise ValueError("these completions carry no logits; name `logits` among the needs")
        value_M = self.logits.map(function)
        return value_M.new_zeros(self.mask_PT.shape).masked_scatter(self.mask_PT, value_M)


@dataclass(slots=True)
class PreferenceScores:
    """The input of a preference loss: P prompts with K ranked completions each; a pair is K = 2.

    The prompts may be a micro-batch: the loss is the mean over the whole batch, of which `mean_len` is known.
    """

    ranked: tuple[CompletionLogps, ...]
    """The completions of each rank, the best first."""
    mean_len: tuple[float, ...] = ()
    """Mean |y| of each rank over the whole batch, so that a mean over tokens is a sum over prompts; empty: these."""
    mismatched: CompletionLogps | None = None
    """Each prompt with another prompt's best completion; only if the loss needs `mismatched`."""
    views: tuple[PreferenceScores, ...] = ()
    """The same completions under each of the loss's further `prompts`."""

    def __post_init__(self) -> None:
        self.mean_len = self.mean_len or tuple(float(s.len_P.sum()) / len(s.len_P) for s in self.ranked)

    @property
    def chosen(self) -> CompletionLogps:
        """The best completions."""
        return self.ranked[0]

    @property
    def rejected(self) -> CompletionLogps:
        """The worst completions."""
        return self.ranked[-1]
