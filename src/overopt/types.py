"""The legend of shapes and the few dataclasses that travel between rooms.

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
This module imports torch for type checking only: records and tasks use it without.
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
    """FILE:LINE it came from, to name in an error."""


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


Preference = PreferenceRecord | RankingRecord
"""What a loss of preferences learns from."""


def preference(
    prompt_id: str, prompt: str, ranked: tuple[Completion, ...], meta: dict[str, Any], place: str = ""
) -> Preference:
    """The record of two or more ranked completions, the best first."""
    if len(ranked) > 2:
        return RankingRecord(prompt_id, prompt, ranked, meta, place)
    chosen, rejected = ranked
    return PreferenceRecord(prompt_id, prompt, chosen, rejected, meta, place)


@dataclass(slots=True)
class Dropped:
    """How many records were left out, by reason. Every reader fills one; `run.json` carries it."""

    reasons: Counter[str] = field(default_factory=Counter)
    kept: int | None = None
    """How many are used, where a stage has said so."""

    def add(self, reason: str, count: int = 1) -> None:
        self.reasons[reason] += count


@dataclass(slots=True)
class Rollouts:
    """Completions sampled from the policy for P prompts, G each, and what the stages measured on them."""

    logp_BT: Tensor
    """Log-probability of each sampled token under the policy that sampled it, at `temperature`."""
    mask_BT: Tensor
    """True on real tokens, EOS included."""
    score_B: Tensor
    """Sum of what scores a completion, the reward model's score after the rule for a missing EOS; 0 if nothing does."""
    group_size: int
    """G."""
    temperature: float
    ref_logp_BT: Tensor | None = None
    """The same tokens under the reference, at the same temperature."""
    gold_B: Tensor | None = None
    entropy_BT: Tensor | None = None
    """Exact entropy of the distribution each token was drawn from, nats."""
    max_len: int = 0
    """Most tokens a completion may have; 0: T."""
    progress: float = 0.0
    """Share of the run's updates made before this one, in [0, 1)."""

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
        """How many tokens each completion stays below the limit."""
        return (self.max_len or self.mask_BT.shape[1]) - self.length_B


@dataclass(slots=True)
class Rewards:
    """What an advantage sees of P groups of completions: shaped rewards (score and regularizers), detached."""

    reward_PG: Tensor
    length_PG: Tensor
    """|y|: real tokens, EOS included."""
    greedy_P: Tensor | None = None
    """Shaped reward of each prompt's greedy completion; only if the advantage needs `greedy`."""


@dataclass(slots=True)
class TokenLogits:
    """Dense logits, over temperature, at M completion tokens: at all tokens of a batch, or at a piece of them."""

    new_MV: Tensor
    """The policy's; carry gradients."""
    token_M: Tensor
    """The sampled token."""
    row_M: Tensor
    """The row of the batch it stands in."""
    old_MV: Tensor | None = None
    """The policy's that sampled; only if `old_logits` are needed."""
    ref_MV: Tensor | None = None
    """The reference's; only if `ref_logits` are needed."""

    def map(self, function: Callable[[TokenLogits], Tensor]) -> Tensor:
        """The function's values `[M]`: here in one piece."""
        return function(self)


class LogitSource(Protocol):
    """Gives a function of each token's logits; the vocabulary's axis need never exist for all tokens at once."""

    def map(self, function: Callable[[TokenLogits], Tensor]) -> Tensor:
        """Values `[M]`, tokens in order, of a function that is called with pieces of the batch; differentiable."""
        ...


@dataclass(slots=True)
class PolicyUpdate:
    """What a policy loss sees of one batch of rows: the new log-probabilities carry gradients, the rest does not.

    The rows may be a part of a minibatch: the loss is the mean over all its rows, and what a loss needs to know of
    the other rows is here.
    """

    logp_BT: Tensor
    old_logp_BT: Tensor
    mask_BT: Tensor
    advantage_B: Tensor
    ref_logp_BT: Tensor | None = None
    logits: LogitSource | None = None
    """Only if the loss or a regularizer needs `logits`."""
    mean_len: float = 0.0
    """Mean |y| over all rows of the minibatch; 0: over these."""
    max_len: int = 0
    """Most tokens a completion may have; 0: T."""

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
        """A function of each token's logits, `[B, T]`, 0 on padding; differentiable."""
        if self.logits is None:
            raise ValueError("this update carries no logits; name `logits` among the needs")
        value_M = self.logits.map(function)
        return value_M.new_zeros(self.mask_BT.shape).masked_scatter(self.mask_BT, value_M)


@dataclass(slots=True)
class CompletionLogps:
    """One completion of each of P prompts: its tokens' log-probabilities, which carry gradients, and the reference's.

    A completion without tokens and a token of probability 0 have no place in any loss: they are refused here.
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
        """A function of each token's logits, `[P, T]`, 0 on padding; differentiable."""
        if self.logits is None:
            raise ValueError("these completions carry no logits; name `logits` among the needs")
        value_M = self.logits.map(function)
        return value_M.new_zeros(self.mask_PT.shape).masked_scatter(self.mask_PT, value_M)


@dataclass(slots=True)
class PreferenceScores:
    """What a loss of preferences sees of P prompts with K completions each, ranked; a pair is a ranking of two.

    The prompts may be a part of a batch: the loss is the mean over all of it, and what a loss needs to know of the
    rest is here.
    """

    ranked: tuple[CompletionLogps, ...]
    """The completions of each rank, the best first."""
    mean_len: tuple[float, ...] = ()
    """Mean |y| of each rank over the whole batch, so that a mean over its tokens is a sum over pairs; empty: these."""
    mismatched: CompletionLogps | None = None
    """Each prompt with another's best completion; only if the loss needs `mismatched`."""
    views: tuple[PreferenceScores, ...] = ()
    """The same completions under each of the loss's other prompts, if it has any."""

    def __post_init__(self) -> None:
        self.mean_len = self.mean_len or tuple(float(s.len_P.sum()) / len(s.len_P) for s in self.ranked)

    @property
    def chosen(self) -> CompletionLogps:
        """The best."""
        return self.ranked[0]

    @property
    def rejected(self) -> CompletionLogps:
        """The worst."""
        return self.ranked[-1]
