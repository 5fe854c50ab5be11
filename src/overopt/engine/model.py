"""What the engine asks of a model. `models/` implements it for Hugging Face; tests may use anything that fits."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

if TYPE_CHECKING:
    from overopt.engine.attention import AttentionBackend
    from overopt.engine.packing import Packed


class BodyModel(Protocol):
    """The body of a transformer."""

    pad_id: int

    @property
    def device(self) -> torch.device: ...

    def hidden(self, packed: Packed) -> Tensor:
        """Hidden states after the final norm at the places of a packed batch, `[N, D]`; anything where nobody reads."""


class CausalModel(BodyModel, Protocol):
    """A body with a head over a vocabulary, and two ways to decode."""

    end_ids: frozenset[int]
    """The tokens at which sampling stops."""

    @property
    def vocabulary(self) -> int: ...

    @property
    def tree_attention(self) -> bool:
        """Whether it computes trees and decodes from a `KeyValueStore`; else it decodes from a cache of its own."""

    @property
    def pads_prompts(self) -> bool:
        """Whether `extend` takes prompts of different lengths at once, the shorter ones padded on the left."""

    def logits(self, hidden_MD: Tensor) -> Tensor:
        """What a softmax makes the distribution of the next token, `[M, V]`."""

    def run(self, ids_N: Tensor, positions_N: Tensor, attend: AttentionBackend, read_R: Tensor | None = None) -> Tensor:
        """Hidden states of flat tokens whose attention `attend` computes, `[N, D]`, or of the places `read_R`."""

    def decoding(self, tokens: int) -> AbstractContextManager[None]:
        """In it about so many calls of `run` or `extend` and `logits` follow, of a few rows each, without gradient."""

    def extend(self, ids_NL: Tensor, positions_NL: Tensor, mask_NS: Tensor, cache: Any) -> tuple[Tensor, Any]:
        """Hidden states of tokens that follow a cache (None: nothing yet), and the longer cache.

        `mask_NS` is True at real tokens, those of the cache included. The cache offers
        `batch_repeat_interleave(times)` and `batch_select_indices(indices)`.
        """
