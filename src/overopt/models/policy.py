"""A Hugging Face causal language model as the engine sees it: body, cache and head."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from torch import Tensor

from overopt.engine.prepack import prepacked
from overopt.models.body import Body

WORTH_PACKING = 8
"""Tokens from which on laying out the weights costs less than it saves."""


class Policy(Body):
    """A causal language model with its tokenizer."""

    def __init__(self, model: Any, tokenizer: Any, bf16: bool = False) -> None:
        super().__init__(model, tokenizer, model.get_output_embeddings(), bf16)

    @property
    def vocabulary(self) -> int:
        """V: the rows of the head, which may be more than the tokenizer has words."""
        return self.head.weight.shape[0]

    def extend(self, ids_NL: Tensor, positions_NL: Tensor, mask_NS: Tensor, cache: Any) -> tuple[Tensor, Any]:
        """Hidden states of tokens that follow a cache, by the model's ordinary forward, and the longer cache."""
        with self.autocast():
            out = self.model.base_model(
                input_ids=ids_NL,
                position_ids=positions_NL,
                attention_mask=mask_NS,
                past_key_values=cache,
                use_cache=True,
            )
        return out.last_hidden_state, out.past_key_values

    def decoding(self, tokens: int) -> AbstractContextManager[None]:
        """Weights laid out for products of few rows, if enough tokens follow to pay for that."""
        return prepacked(self.model.modules() if tokens >= WORTH_PACKING and not self.bf16 else [])

    def logits(self, hidden_MD: Tensor) -> Tensor:
        """The head's output, `[M, V]`."""
        with self.autocast(), self.linear_maps(len(hidden_MD)):
            return self.head(hidden_MD)

    def mean_logit(self, hidden_MD: Tensor) -> Tensor:
        """The mean over the vocabulary: a linear map's mean output is the map with the mean row."""
        bias = 0.0 if self.head.bias is None else self.head.bias.mean()
        return hidden_MD.float() @ self.head.weight.float().mean(0) + bias

    def frozen_head(self) -> Callable[[Tensor], Tensor]:
        """The head as it is now, without gradients: makes logits of hidden states that were kept."""
        head = copy.deepcopy(self.head).requires_grad_(False)

        def logits(hidden_MD: Tensor) -> Tensor:
            with self.autocast():
                return head(hidden_MD)

        return logits

    def frozen_copy(self) -> Policy:
        """The policy as it is now, without gradients: a reference."""
        reference = Policy(copy.deepcopy(self.model), self.tokenizer, self.bf16)
        reference.trees, reference.flex, reference.end_ids = self.trees, self.flex, self.end_ids
        reference.freeze()
        return reference
