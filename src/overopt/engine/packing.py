"""A batch is trees `[prompt | completion_1 | ... | completion_k]`: the prompt is computed once for all its completions.

Trees lie side by side as the rows of a right-padded rectangle. A completion sees the prompt and itself; its positions
start at the prompt's length, wherever it lies in the row. Prompt and completion are tokenized apart, so that a merge
across the boundary cannot make the prefix differ between completions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Tree:
    """A prompt's tokens (at least one) and those of its completions, EOS included where they ended."""

    prompt: Sequence[int]
    completions: Sequence[Sequence[int]]

    @property
    def size(self) -> int:
        return len(self.prompt) + sum(map(len, self.completions))


@dataclass(frozen=True, slots=True)
class Packed:
    """N trees as model inputs `[N, L]`, and where the M target tokens of their B completions are predicted."""

    ids_NL: Tensor
    positions_NL: Tensor
    mask_N1LL: Tensor
    """Additive attention mask: 0 where a token may look, a large negative number elsewhere."""
    source_M: Tensor
    """Place, in the flattened `[N*L]` hidden states, whose output predicts the target."""
    token_M: Tensor
    row_M: Tensor
    column_M: Tensor
    last_B: Tensor
    """Place of each row's last token: where a reward model reads its score."""
    width: int
    """T: the longest row of targets."""

    def spread(self, values_M: Tensor) -> Tensor:
        """Values of the M targets as `[B, T]`, 0 elsewhere; differentiable."""
        empty_BT = values_M.new_zeros(len(self.last_B), self.width)
        return empty_BT.index_put((self.row_M, self.column_M), values_M)

    @property
    def mask_BT(self) -> Tensor:
        return self.spread(torch.ones_like(self.token_M)).bool()


def pack(
    trees: Sequence[Tree], pad_id: int, device: torch.device | str = "cpu", prompt_targets: bool = False
) -> Packed:
    """Lay trees side by side. With `prompt_targets` a row's targets are prompt[1:] + completion, one a tree."""
    length = max(tree.size for tree in trees)
    ids, positions, segments = [], [], []
    source: list[int] = []
    tokens: list[int] = []
    widths: list[int] = []
    last: list[int] = []
    for index, tree in enumerate(trees):
        base, prompt_length = index * length, len(tree.prompt)
        row_ids, row_positions, row_segments = list(tree.prompt), list(range(prompt_length)), [0] * prompt_length
        if prompt_targets and len(tree.completions) != 1:
            raise ValueError("prompt_targets takes trees of one completion")
        for segment, completion in enumerate(tree.completions, start=1):
            start, size = len(row_ids), len(completion)
            if prompt_targets:
                source += range(base, base + prompt_length - 1)
                tokens += tree.prompt[1:]
            source += [base + prompt_length - 1, *range(base + start, base + start + size - 1)][:size]
            tokens += completion
            widths.append(size + (prompt_length - 1) * prompt_targets)
            last.append(base + (start + size - 1 if size else prompt_length - 1))
            row_ids += completion
            row_positions += range(prompt_length, prompt_length + size)
            row_segments += [segment] * size
        padding = length - len(row_ids)
        ids.append(row_ids + [pad_id] * padding)
        positions.append(row_positions + [0] * padding)
        segments.append(row_segments + [-1] * padding)
    size_B = torch.tensor(widths)
    return Packed(
        ids_NL=torch.tensor(ids, device=device),
        positions_NL=torch.tensor(positions, device=device),
        mask_N1LL=_tree_mask(torch.tensor(segments, device=device)),
        source_M=torch.tensor(source, dtype=torch.long, device=device),
        token_M=torch.tensor(tokens, dtype=torch.long, device=device),
        row_M=torch.arange(len(widths)).repeat_interleave(size_B).to(device),
        column_M=torch.tensor([c for w in widths for c in range(w)], dtype=torch.long, device=device),
        last_B=torch.tensor(last, device=device),
        width=max(widths, default=0),
    )


def _tree_mask(segment_NL: Tensor) -> Tensor:
    """A token sees what lies before it in the prompt (segment 0) or in its own segment; padding is segment -1."""
    length = segment_NL.shape[1]
    causal_LL = torch.ones(length, length, dtype=torch.bool, device=segment_NL.device).tril()
    seen_NLL = (segment_NL[:, None, :] == 0) | (segment_NL[:, None, :] == segment_NL[:, :, None])
    return additive_mask(causal_LL & seen_NLL)[:, None]


def additive_mask(allowed: Tensor) -> Tensor:
    """0 where allowed, a large finite negative number elsewhere (finite, so that a row without any place is no NaN)."""
    return torch.zeros(allowed.shape, device=allowed.device).masked_fill_(~allowed, -1e9)


def micro_batches(trees: Sequence[Tree], token_budget: int) -> Iterator[list[int]]:
    """Indices of whole trees, in order, such that a batch's rectangle holds at most `token_budget` places.

    A tree larger than the budget travels alone.
    """
    batch: list[int] = []
    longest = 0
    for index, tree in enumerate(trees):
        if batch and max(longest, tree.size) * (len(batch) + 1) > token_budget:
            yield batch
            batch, longest = [], 0
        batch.append(index)
        longest = max(longest, tree.size)
    if batch:
        yield batch


def row_ranges(trees: Sequence[Tree]) -> list[range]:
    """For each tree, the rows that its completions take in a batch of all of them."""
    ends = list(accumulate(len(tree.completions) for tree in trees))
    return [range(end - len(tree.completions), end) for tree, end in zip(trees, ends, strict=True)]
