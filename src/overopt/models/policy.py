"""A causal language model of Hugging Face with the interface of `engine.model.CausalModel`."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, ClassVar

import torch
from torch import Tensor

from overopt.engine.attention import AttentionBackend
from overopt.engine.head import LOGITS_PER_CHUNK
from overopt.engine.onednn import packed_linear_maps
from overopt.engine.packing import Packed
from overopt.models import caches
from overopt.models.body import Body
from overopt.models.properties import LogitMap

WORTH_PACKING = 8
"""Tokens to decode from which on packing the weights costs less than it saves."""


class Policy(Body):
    """A causal language model with its tokenizer."""

    peft_task: ClassVar[str] = "CAUSAL_LM"

    def __init__(self, model: Any, tokenizer: Any, bf16: bool = False) -> None:
        super().__init__(model, tokenizer, model.get_output_embeddings(), bf16)
        self.logit_map = LogitMap.of(model.config)
        self.cache: caches.CacheKind = "padded"
        """How it decodes without tree attention; chosen at load."""

    @property
    def vocabulary(self) -> int:
        """V, the rows of the head; may be more than the tokenizer has tokens."""
        return self.head.weight.shape[0]

    @property
    def known_tokens(self) -> int:
        return min(super().known_tokens, self.vocabulary)

    @property
    def pads_prompts(self) -> bool:
        """Whether prompts of different lengths can be decoded together, the shorter ones padded on the left."""
        return self.cache == "padded"

    def extend(self, ids_NL: Tensor, positions_NL: Tensor, mask_NS: Tensor, cache: Any) -> tuple[Tensor, Any]:
        """Hidden states of tokens that follow a cache, by the ordinary forward, and the extended cache."""
        body = self.model.base_model
        with self.autocast():
            if self.cache == "none":
                return caches.extend_again(body, ids_NL, cache)
            if self.cache == "equal":
                return caches.extend_recurrent(body, ids_NL, cache)
            out = body(
                input_ids=ids_NL,
                position_ids=positions_NL,
                attention_mask=mask_NS,
                past_key_values=cache,
                use_cache=True,
            )
        return out.last_hidden_state, out.past_key_values

    def decoding(self, tokens: int) -> AbstractContextManager[None]:
        """A context with weights packed for products of few rows, if enough tokens are to be decoded."""
        return packed_linear_maps(self.model.modules() if tokens >= WORTH_PACKING and not self.bf16 else [])

    def logits(self, hidden_MD: Tensor) -> Tensor:
        """Logits `[M, V]`: the head's output, scaled and capped as the model does."""
        with self.autocast(), self.linear_maps(len(hidden_MD)):
            return self.logit_map(self.head(hidden_MD))

    def mean_logit(self, hidden_MD: Tensor) -> Tensor:
        """The logits' mean over the vocabulary, `[M]`; without a cap it is computed by the head's mean row alone."""
        if self.logit_map.cap is not None:
            parts = hidden_MD.split(max(1, LOGITS_PER_CHUNK // self.vocabulary))
            return torch.cat([self.logits(part).float().mean(-1) for part in parts])
        bias = 0.0 if self.head.bias is None else self.head.bias.mean()
        return self.logit_map(hidden_MD.float() @ self.head.weight.float().mean(0) + bias)

    def frozen_head(self) -> Callable[[Tensor], Tensor]:
        """A copy of the present head without gradients, to make logits of hidden states that were kept."""
        head = copy.deepcopy(self.head).requires_grad_(False)

        def logits(hidden_MD: Tensor) -> Tensor:
            with self.autocast():
                return self.logit_map(head(hidden_MD))

        return logits

    def frozen_copy(self) -> Policy:
        """A reference: a copy of the policy without gradients or, if it has an adapter, the policy without that."""
        if self.adapter is not None:
            return WithoutAdapter(self)
        reference = Policy(copy.deepcopy(self.model), self.tokenizer, self.bf16)
        for name in ("tree_attention", "flex_attention", "cache", "end_ids"):
            setattr(reference, name, getattr(self, name))
        reference.freeze()
        return reference


class WithoutAdapter(Policy):
    """What a policy was before it had its adapter, in the same memory; to be called without gradient."""

    def __init__(self, policy: Policy) -> None:
        vars(self).update(vars(policy))

    def run(self, ids_N: Tensor, positions_N: Tensor, attend: AttentionBackend, read_R: Tensor | None = None) -> Tensor:
        with self._base():
            return super().run(ids_N, positions_N, attend, read_R)

    def _plain_hidden(self, packed: Packed) -> Tensor:
        with self._base():
            return super()._plain_hidden(packed)

    def extend(self, ids_NL: Tensor, positions_NL: Tensor, mask_NS: Tensor, cache: Any) -> tuple[Tensor, Any]:
        with self._base():
            return super().extend(ids_NL, positions_NL, mask_NS, cache)

    def _base(self) -> AbstractContextManager[None]:
        assert self.adapter is not None
        return self.adapter.disabled()
