"""Attention over flat tokens: each attends to the prompt of its tree and to the earlier tokens of its own completion.

A body runs on `[1, N]` tokens of all trees side by side, without padding; only attention must know which token belongs
to which tree. It learns this from the object that `attention_carrier` attaches to the attention mask, which
transformers passes through untouched.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


class AttentionBackend(Protocol):
    """Computes attention for one layer of a body that runs on flat tokens."""

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
        """The attention output `[1, N, heads, d]` of queries, keys and values `[1, heads, N, d]`.

        Keys and values may have fewer heads. Queries may have fewer positions: those alone that are read.
        """


def attention_carrier(attend: AttentionBackend, device: torch.device) -> Tensor:
    """An empty 4D attention mask that carries the object which computes attention."""
    mask = torch.zeros(1, 1, 1, 1, device=device)
    mask.overopt = attend  # type: ignore[attr-defined]
    return mask


def carried_attention(mask: Any) -> AttentionBackend | None:
    """The object that a mask carries; None for an ordinary mask."""
    return getattr(mask, "overopt", None)


class TreeAttention:
    """Attention within each of several trees that lie one after another.

    `sizes` are the trees' token counts; `segment_N` is 0 in a prompt and j in its completion j. `read` holds the range
    of positions of each tree that are read, for a body that computes its last layer only there.
    """

    def __init__(self, sizes: Sequence[int], segment_N: Tensor, read: Sequence[range] = ()) -> None:
        self.sizes = list(sizes)
        self.read = list(read)
        self.segment_N = segment_N
        self._masks: list[Tensor] | None = None

    def masks(self, dtype: torch.dtype) -> list[Tensor]:
        """An additive mask `[L, L]` for each tree, made once for all layers."""
        if self._masks is None or self._masks[0].dtype != dtype:
            self._masks = [additive_mask(visibility_mask(s), dtype) for s in self.segment_N.split(self.sizes)]
        return self._masks

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
        parts = self.parts(query, key, value)
        outs = [F.scaled_dot_product_attention(q, k, v, attn_mask=m, scale=scale) for q, k, v, m in parts]
        return torch.cat([out.transpose(1, 2) for out in outs], 1)

    def parts(self, query: Tensor, key: Tensor, value: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """The queries, keys, values and mask of each tree."""
        key, value = (shared_heads(x, query.shape[1]) for x in (key, value))
        masks, queries = self.masks(query.dtype), self.sizes
        if query.shape[2] < sum(self.sizes):
            masks = [m[r.start : r.stop] for m, r in zip(masks, self.read, strict=True)]
            queries = [len(r) for r in self.read]
        split = query.split(queries, 2), key.split(self.sizes, 2), value.split(self.sizes, 2)
        return zip(*split, masks, strict=True)


def visibility_mask(segment_L: Tensor) -> Tensor:
    """Whether token i of a tree attends to token j, `[L, L]`: j is not later, and in the prompt or i's completion."""
    causal_LL = torch.ones(len(segment_L), len(segment_L), dtype=torch.bool, device=segment_L.device).tril()
    return causal_LL & ((segment_L == 0) | (segment_L == segment_L[:, None]))


def additive_mask(allowed: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """0 where allowed, -1e9 elsewhere: finite, so that a row with nothing allowed does not become NaN."""
    return torch.zeros(allowed.shape, device=allowed.device, dtype=dtype).masked_fill_(~allowed, -1e9)


def shared_heads(x: Tensor, heads: int) -> Tensor:
    """Keys or values repeated so that each query head has its own."""
    return x if x.shape[1] == heads else x.repeat_interleave(heads // x.shape[1], 1)


def causal_prompts(query: Tensor, key: Tensor, value: Tensor, lengths: Sequence[int], scale: float | None) -> Tensor:
    """Causal attention within each prompt: of all positions or, if there is one query a prompt, of the last ones."""
    causal, sizes = query.shape[2] == key.shape[2], list(lengths)
    key, value = (shared_heads(x, query.shape[1]) for x in (key, value))
    parts = zip(query.split(sizes if causal else 1, 2), key.split(sizes, 2), value.split(sizes, 2), strict=True)
    outs = [F.scaled_dot_product_attention(q, k, v, is_causal=causal, scale=scale) for q, k, v in parts]
    return torch.cat([out.transpose(1, 2) for out in outs], 1)


class KeyValueStore:
    """Keys and values of P prompts and of G samples being drawn for each, at most `width` tokens a sample.

    A prompt's keys and values are stored once for all its samples. The first `attend` of each layer takes the prompts,
    one after another; after `open`, one token of each active sample. `retire` drops finished samples.
    """

    def __init__(self, lengths: Sequence[int], group_size: int, width: int, device: torch.device) -> None:
        self.lengths, self.group, self.width = list(lengths), group_size, width
        self.prompt = max(lengths)
        self.device = device
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []
        self.step = -1
        self.slots = torch.arange(len(lengths) * group_size, device=device)
        """For each active sample, its row among the stored groups of samples."""
        self.groups = len(lengths)
        place = torch.arange(self.prompt + width * group_size, device=device)
        length_P = torch.tensor(self.lengths, device=device)
        own = (place - self.prompt) % group_size == torch.arange(group_size, device=device)[:, None]
        seen_PL = (place < length_P[:, None]) | (place >= self.prompt)
        self.mask_PGL = additive_mask(seen_PL[:, None] & (own | (place < self.prompt)))

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
        if self.step < 0:
            return self._run_prompts(query, key, value, scale)
        return self._run_tokens(layer, query[0], key[0], value[0], scale)

    def _run_prompts(self, query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
        size = (self.groups, key.shape[1], self.prompt + self.width * self.group, key.shape[3])
        stored = [key.new_zeros(size), value.new_zeros(size)]
        for i, (k, v) in enumerate(zip(key.split(self.lengths, 2), value.split(self.lengths, 2), strict=True)):
            stored[0][i, :, : k.shape[2]], stored[1][i, :, : v.shape[2]] = k[0], v[0]
        self.keys.append(stored[0])
        self.values.append(stored[1])
        return causal_prompts(query, key, value, self.lengths, scale)

    def _run_tokens(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
        """One token of each active sample, `[heads, A, d]`; the samples of a prompt are rows of one attention."""
        heads, rows, size = query.shape
        shared, group = heads // key.shape[0], self.group
        keys, values = self.keys[layer], self.values[layer]
        start = self.prompt + self.step * group
        end = start + group
        full = rows == self.groups * group
        mask = self.mask_PGL[:, None, :, :end].to(query.dtype)
        if full:
            keys[:, :, start:end] = key.view(-1, self.groups, group, size).transpose(0, 1)
            values[:, :, start:end] = value.view(-1, self.groups, group, size).transpose(0, 1)
            query_PHGD = query.view(heads, self.groups, group, size).transpose(0, 1)
        else:
            where = (self.slots // group, slice(None), start + self.slots % group)
            keys[where], values[where] = key.transpose(0, 1), value.transpose(0, 1)
            slots = query.new_zeros(self.groups * group, heads, size).index_copy_(0, self.slots, query.transpose(0, 1))
            query_PHGD = slots.view(self.groups, group, heads, size).transpose(1, 2)
        if shared > 1:  # queries that share keys become rows of one attention; no key is repeated
            query_PHGD = query_PHGD.reshape(self.groups, heads // shared, shared * group, size)
            mask = mask.repeat(1, 1, shared, 1)
        out = F.scaled_dot_product_attention(
            query_PHGD, keys[:, :, :end], values[:, :, :end], attn_mask=mask, scale=scale
        )
        out = out.reshape(self.groups, heads, group, size).transpose(1, 2).reshape(-1, heads, size)
        return (out if full else out[self.slots])[None]

    def open(self) -> None:
        """Make room for one more token of each sample."""
        self.step += 1

    def retire(self, keep: Tensor) -> None:
        """Keep only some of the active samples; empty groups are removed once they are a quarter of all."""
        self.slots = self.slots[keep]
        alive = torch.unique(self.slots // self.group)
        if len(alive) > 0.75 * self.groups:
            return
        number = torch.full((self.groups,), -1, device=self.device)
        number[alive] = torch.arange(len(alive), device=self.device)
        self.slots = number[self.slots // self.group] * self.group + self.slots % self.group
        self.groups = len(alive)
        self.mask_PGL = self.mask_PGL[alive]
        for stored in (self.keys, self.values):
            for layer, tensor in enumerate(stored):
                stored[layer] = tensor[alive]
