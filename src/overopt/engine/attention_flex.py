"""Attention over trees on a GPU in one kernel: torch's flex attention, compiled, on the blocks that trees touch.

One call a layer replaces one for each tree, and no mask is stored. It is chosen at load if `models/flex.py` finds its
values right. Blocks that hold only other completions of a tree are computed and masked, because they are few.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, cached_property
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from overopt.engine.attention import TreeAttention

BLOCK = 128
"""Tokens of a block, torch's default; batches are padded to whole blocks so that few shapes are compiled."""

Kernel = Callable[..., Any]


@cache
def compiled() -> Kernel:
    """The kernel for all lengths, compiled at its first call."""
    return torch.compile(flex_attention, dynamic=True)


class FlexAttention:
    """The same attention as `TreeAttention`."""

    def __init__(self, trees: TreeAttention) -> None:
        self.kernel = compiled()
        self.trees = trees
        self.padding = -sum(trees.sizes) % BLOCK
        self.mask = block_mask(trees.sizes, trees.segment_N)

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
        if query.shape[2] < key.shape[2]:  # only the positions that are read
            full = query.new_zeros(1, query.shape[1], key.shape[2], query.shape[3])
            return self.attend(layer, full.index_copy(2, self._read_R, query), key, value, scale)[:, self._read_R]
        tokens, shared = query.shape[2], query.shape[1] != key.shape[1]
        query, key, value = (F.pad(x, (0, 0, 0, self.padding)) for x in (query, key, value))
        out: Tensor = self.kernel(query, key, value, block_mask=self.mask, scale=scale, enable_gqa=shared)
        return out[:, :, :tokens].transpose(1, 2)

    @cached_property
    def _read_R(self) -> Tensor:
        starts = accumulate(self.trees.sizes, initial=0)
        places = [start + i for start, read in zip(starts, self.trees.read, strict=False) for i in read]
        return torch.tensor(places, device=self.trees.segment_N.device)


def block_mask(sizes: Sequence[int], segment_N: Tensor) -> BlockMask:
    """Which token attends to which and, for each block of queries, the blocks of keys that it needs.

    These run from the start of the tree of the block's first query to the block itself, since attention is causal. They
    are derived from the trees' sizes: a mask of all pairs of tokens would take gigabytes.
    """
    device, padding = segment_N.device, -sum(sizes) % BLOCK
    size_T = torch.tensor([*sizes, padding], device=device)  # the padding is a tree of its own
    tree_N = torch.arange(len(size_T), device=device).repeat_interleave(size_T)
    start_N = (size_T.cumsum(0) - size_T)[tree_N]
    segment_N = F.pad(segment_N, (0, padding))

    def sees(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        same = (segment_N[key] == 0) | (segment_N[key] == segment_N[query])
        return (tree_N[key] == tree_N[query]) & (key <= query) & same

    first_Q = start_N[::BLOCK] // BLOCK
    own_Q = torch.arange(len(first_Q), device=device)
    key_QK = torch.minimum(first_Q[:, None] + own_Q, own_Q[:, None])
    count_Q = own_Q - first_Q + 1
    return BlockMask.from_kv_blocks(
        count_Q[None, None].int(), key_QK[None, None].int(), BLOCK_SIZE=BLOCK, mask_mod=sees
    )
