"""The legend of shapes and the few dataclasses that travel between rooms.

Shape suffixes, used throughout the package:

| suffix | axis                                                                 |
|--------|----------------------------------------------------------------------|
| `P`    | prompts (for pairs: pairs)                                            |
| `G`    | completions sampled for one prompt                                    |
| `B`    | rows, one a completion; `B = P*G`, row `p*G + g` is sample g of prompt p |
| `T`    | completion tokens, right-padded; masked entries are 0; EOS is a token |
| `V`    | vocabulary                                                            |
| `M`    | real completion tokens of a batch, flattened                          |

Log-probabilities are in nats and always those of the tempered policy `softmax(logits / temperature)`.
This module imports torch for type checking only: records and tasks use it without.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class PromptRecord:
    """A prompt, with the reference completion if there is one. `prompt_id` is unique in its data set."""

    prompt_id: str
    prompt: str
    reference: str | None = None
    meta: dict[str, Any] = field(default_factory=dict)


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


@dataclass(slots=True)
class Dropped:
    """How many records were left out, by reason. Every reader fills one; `run.json` carries it."""

    reasons: Counter[str] = field(default_factory=Counter)

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
    """Reward model's score, after the rule for a missing EOS."""
    group_size: int
    """G."""
    temperature: float
    ref_logp_BT: Tensor | None = None
    """The same tokens under the reference, at the same temperature."""
    gold_B: Tensor | None = None

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


@dataclass(slots=True)
class PolicyUpdate:
    """What a policy loss sees of one batch of rows: the new log-probabilities carry gradients, the rest does not."""

    logp_BT: Tensor
    old_logp_BT: Tensor
    mask_BT: Tensor
    advantage_B: Tensor
    logits_MV: Tensor | None = None
    """Logits over temperature at every real token, row by row; only if the loss needs `logits`."""
    old_logits_MV: Tensor | None = None
    token_M: Tensor | None = None
    """The sampled token at each of the M places."""


@dataclass(slots=True)
class PairScores:
    """What a pair loss sees of P pairs: log-probabilities summed over tokens, EOS included, and lengths."""

    chosen_logp_P: Tensor
    rejected_logp_P: Tensor
    chosen_len_P: Tensor
    rejected_len_P: Tensor
    ref_chosen_logp_P: Tensor | None = None
    ref_rejected_logp_P: Tensor | None = None
    mismatched_logp_P: Tensor | None = None
    """Each prompt with the next pair's chosen completion; only if the loss needs `mismatched`."""
    ref_mismatched_logp_P: Tensor | None = None
