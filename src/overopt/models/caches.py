"""Caches for models whose own cannot repeat rows or continue with some of them, which the sampler needs."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

CacheKind = Literal["padded", "equal", "none"]
"""padded: the model's own cache, with prompts padded on the left. equal: the same for prompts of equal length only,
because padding would change the states. none: the whole row is computed again for every token."""


@dataclass
class RecurrentCache:
    """A cache with the states of recurrent layers; rows are repeated and selected by its method for beam search."""

    own: Any
    rows: int

    def batch_repeat_interleave(self, repeats: int) -> None:
        self.batch_select_indices(torch.arange(self.rows).repeat_interleave(repeats))

    def batch_select_indices(self, indices: Tensor) -> None:
        self.own.reorder_cache(indices)
        self.rows = len(indices)


@dataclass
class RecomputedRows:
    """No cache: the tokens so far, `[N, S]`, which are computed again with every new one."""

    ids_NS: Tensor

    def batch_repeat_interleave(self, repeats: int) -> None:
        self.ids_NS = self.ids_NS.repeat_interleave(repeats, 0)

    def batch_select_indices(self, indices: Tensor) -> None:
        self.ids_NS = self.ids_NS[indices]


def extend_recurrent(body: Any, ids_NL: Tensor, cache: RecurrentCache | None) -> tuple[Tensor, RecurrentCache]:
    """Hidden states of tokens that follow a cache, in rows of equal length, and the extended cache."""
    takes = inspect.signature(body.forward).parameters
    name = next(name for name in ("past_key_values", "cache_params", "cache") if name in takes)
    out = body(input_ids=ids_NL, use_cache=True, **{name: None if cache is None else cache.own})
    return out.last_hidden_state, RecurrentCache(getattr(out, name), len(ids_NL))


def extend_again(body: Any, ids_NL: Tensor, cache: RecomputedRows | None) -> tuple[Tensor, RecomputedRows]:
    """The same by computing whole rows again."""
    ids_NS = ids_NL if cache is None else torch.cat([cache.ids_NS, ids_NL], 1)
    hidden = body(input_ids=ids_NS, use_cache=False).last_hidden_state
    return hidden[:, -ids_NL.shape[1] :], RecomputedRows(ids_NS)
