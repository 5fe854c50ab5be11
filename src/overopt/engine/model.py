"""The interface of a model. `models/` implements it for Hugging Face; tests use small models of their own."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

if TYPE_CHECKING:
    from overopt.engine.attention import AttentionBackend
    from overopt.engine.packing import Packed


class CausalModel(Protocol):
    """A body with a head over a vocabulary, which decodes from a `KeyValueStore` or from a cache of its own."""

    pad_id: int
    end_ids: frozenset[int]
    """The tokens at which sampling stops."""

    @property
    def device(self) -> torch.device: ...

    @property
    def vocabulary(self) -> int: ...

    @property
    def tree_attention(self) -> bool:
        """Whether completions share the computation of their prompt, and decoding uses a `KeyValueStore`."""

    @property
    def pads_prompts(self) -> bool:
        """Whether `extend` takes prompts of different lengths together, the shorter ones padded on the left."""

    def hidden(self, packed: Packed) -> Tensor:
        """Hidden states after the final norm of a packed batch, `[N, D]`; undefined at positions outside `read_R`."""

    def logits(self, hidden_MD: Tensor) -> Tensor:
        """Logits of the next token, `[M, V]`."""

    def run(self, ids_N: Tensor, positions_N: Tensor, attend: AttentionBackend, read_R: Tensor | None = None) -> Tensor:
        """Hidden states `[N, D]` of flat tokens whose attention `attend` computes, or `[R, D]` of `read_R` alone."""

    def decoding(self, tokens: int) -> AbstractContextManager[None]:
        """A context for about so many calls of `run` or `extend` and `logits`, of few rows, without gradient."""

    def extend(self, ids_NL: Tensor, positions_NL: Tensor, mask_NS: Tensor, cache: Any) -> tuple[Tensor, Any]:
        """Hidden states of tokens that follow a cache (None: no tokens yet), and the extended cache.

        `mask_NS` is True at real tokens, those of the cache included. A cache has the methods
        `batch_repeat_interleave(times)` and `batch_select_indices(indices)`.
        """
