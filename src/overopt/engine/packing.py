"""Batches of trees `[prompt | completion_1 | ... | completion_k]`: a prompt is computed once for all its completions.

The tokens of all trees are concatenated without padding. A completion attends to its prompt and itself, and its
positions start at the prompt's length. Prompt and completion are tokenized apart, so that a token across the boundary
cannot make the prompt differ between completions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from overopt.engine.attention import TreeAttention


@dataclass(frozen=True, slots=True)
class Tree:
    """The ids of a prompt (at least one) and of its completions, with the end token if they ended."""

    prompt: Sequence[int]
    completions: Sequence[Sequence[int]]

    @property
    def size(self) -> int:
        return len(self.prompt) + sum(map(len, self.completions))


@dataclass(frozen=True, slots=True)
class Packed:
    """The N tokens of several trees as model inputs, and the M targets of their B completions."""

    trees: Sequence[Tree]
    ids_N: Tensor
    positions_N: Tensor
    attention: TreeAttention
    source_M: Tensor
    """The position, among the N, whose output predicts the target."""
    token_M: Tensor
    row_M: Tensor
    column_M: Tensor
    read_R: Tensor
    """The positions whose hidden states are read: the last of a prompt, its completions', and prompt targets'."""
    last_B: Tensor
    """The position of each completion's last token, where a reward model reads its score."""
    width: int
    """T, the length of the longest row of targets."""

    def spread(self, values_M: Tensor) -> Tensor:
        """Values of the M targets as rows `[B, T]`, 0 elsewhere; differentiable."""
        empty_BT = values_M.new_zeros(len(self.last_B), self.width)
        return empty_BT.index_put((self.row_M, self.column_M), values_M)

    @property
    def mask_BT(self) -> Tensor:
        return self.spread(torch.ones_like(self.token_M)).bool()


def pack(trees: Sequence[Tree], device: torch.device | str = "cpu", prompt_targets: bool = False) -> Packed:
    """Concatenate trees. With `prompt_targets` (trees of one completion) targets are prompt[1:] + completion."""
    ids: list[int] = []
    positions: list[int] = []
    segments: list[int] = []
    source: list[int] = []
    tokens: list[int] = []
    widths: list[int] = []
    last: list[int] = []
    read: list[range] = []
    places: list[int] = []
    for tree in trees:
        base, prompt_length = len(ids), len(tree.prompt)
        read.append(range(0 if prompt_targets else prompt_length - 1, tree.size))
        places += [base + i for i in read[-1]]
        ids += tree.prompt
        positions += range(prompt_length)
        segments += [0] * prompt_length
        if prompt_targets and len(tree.completions) != 1:
            raise ValueError("prompt_targets takes trees of one completion")
        for segment, completion in enumerate(tree.completions, start=1):
            start, size = len(ids), len(completion)
            if prompt_targets:
                source += range(base, base + prompt_length - 1)
                tokens += tree.prompt[1:]
            source += [base + prompt_length - 1, *range(start, start + size - 1)][:size]
            tokens += completion
            widths.append(size + (prompt_length - 1) * prompt_targets)
            last.append(start + size - 1 if size else base + prompt_length - 1)
            ids += completion
            positions += range(prompt_length, prompt_length + size)
            segments += [segment] * size
    size_B = torch.tensor(widths)
    return Packed(
        trees=trees,
        ids_N=torch.tensor(ids, device=device),
        positions_N=torch.tensor(positions, device=device),
        attention=TreeAttention([tree.size for tree in trees], torch.tensor(segments, device=device), read),
        source_M=torch.tensor(source, dtype=torch.long, device=device),
        token_M=torch.tensor(tokens, dtype=torch.long, device=device),
        row_M=torch.arange(len(widths)).repeat_interleave(size_B).to(device),
        column_M=torch.tensor([c for w in widths for c in range(w)], dtype=torch.long, device=device),
        read_R=torch.tensor(places, device=device),
        last_B=torch.tensor(last, device=device),
        width=max(widths, default=0),
    )


def micro_batches(trees: Sequence[Tree], token_budget: int) -> Iterator[list[int]]:
    """Indices of consecutive trees that together hold at most `token_budget` tokens; a larger tree is a batch alone."""
    batch: list[int] = []
    tokens = 0
    for index, tree in enumerate(trees):
        if batch and tokens + tree.size > token_budget:
            yield batch
            batch, tokens = [], 0
        batch.append(index)
        tokens += tree.size
    if batch:
        yield batch


def row_ranges(trees: Sequence[Tree]) -> list[range]:
    """For each tree, the rows of its completions in a batch of all trees."""
    ends = list(accumulate(len(tree.completions) for tree in trees))
    return [range(end - len(tree.completions), end) for tree, end in zip(trees, ends, strict=True)]
