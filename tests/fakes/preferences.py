"""Scores of ranked completions, from lists of numbers: what a loss of preferences is called with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from overopt.types import CompletionLogps, PreferenceScores, TokenLogits

Tokens = Sequence[Sequence[float]]
"""For each of P prompts, the log-probabilities of a completion's tokens."""


def padded(rows: Tokens, width: int | None = None) -> tuple[Tensor, Tensor]:
    """Values `[P, T]` in double precision, 0 on padding, and where they are real."""
    width = max(map(len, rows)) if width is None else width
    value_PT, mask_PT = torch.zeros(len(rows), width, dtype=torch.float64), torch.zeros(len(rows), width).bool()
    for i, row in enumerate(rows):
        value_PT[i, : len(row)] = torch.tensor(row, dtype=torch.float64)
        mask_PT[i, : len(row)] = True
    return value_PT, mask_PT


def scored(logps: Tokens, ref_logps: Tokens | None = None, width: int | None = None) -> CompletionLogps:
    """One completion of each prompt; its log-probabilities are leaves that gather gradients."""
    logp_PT, mask_PT = padded(logps, width)
    return CompletionLogps(
        logp_PT.requires_grad_(), mask_PT, None if ref_logps is None else padded(ref_logps, logp_PT.shape[1])[0]
    )


def sums(logps: Sequence[float], lengths: Sequence[int], ref_logps: Sequence[float] | None = None) -> CompletionLogps:
    """Completions of which only the sum over tokens and the length matter."""

    def spread(values: Sequence[float]) -> list[list[float]]:
        return [[value] + [0.0] * (length - 1) for value, length in zip(values, lengths, strict=True)]

    return scored(spread(logps), None if ref_logps is None else spread(ref_logps))


def ranking(*ranked: CompletionLogps, **others: Any) -> PreferenceScores:
    """The best first."""
    return PreferenceScores(ranked, **others)


@dataclass(frozen=True)
class DenseLogits:
    """A `LogitSource` of given logits."""

    logits: TokenLogits

    def map(self, function: Callable[[TokenLogits], Tensor]) -> Tensor:
        return function(self.logits)


def from_logits(logits: Sequence[Tensor], tokens: Sequence[Sequence[int]]) -> CompletionLogps:
    """Completions whose tokens' log-probabilities are those of dense logits, `[length, V]` for each."""
    new_MV = torch.cat(list(logits))
    token_M = torch.tensor([token for row in tokens for token in row])
    row_M = torch.tensor([i for i, row in enumerate(tokens) for _ in row])
    _, mask_PT = padded([[0.0] * len(row) for row in tokens])
    logp_M = new_MV.log_softmax(1).gather(1, token_M[:, None])[:, 0]
    logp_PT = new_MV.new_zeros(mask_PT.shape).masked_scatter(mask_PT, logp_M)
    return CompletionLogps(logp_PT, mask_PT, logits=DenseLogits(TokenLogits(new_MV, token_M, row_M)))


def token_gradients(scored: CompletionLogps) -> list[list[float]]:
    """The gradient at the real tokens."""
    assert scored.logp_PT.grad is not None
    return [row[mask].tolist() for row, mask in zip(scored.logp_PT.grad, scored.mask_PT, strict=True)]


@dataclass(frozen=True)
class Example:
    """Completions of unequal lengths (1 to 5 tokens) over a small vocabulary, as functions of their dense logits."""

    seed: int
    prompts: int = 3
    ranks: int = 2
    views: int = 1
    vocabulary: int = 6

    def leaves(self) -> list[Tensor]:
        """Logits `[M, V]` of every ranked completion of every view, and last those of the mismatched ones."""
        generator = torch.Generator().manual_seed(self.seed)
        shapes = [sum(rows) for rows in self._lengths()] * self.views + [sum(self._lengths()[0])]
        return [
            (2 * torch.randn(m, self.vocabulary, generator=generator, dtype=torch.float64)).requires_grad_()
            for m in shapes
        ]

    def scores(self, leaves: Sequence[Tensor], width: int = 5) -> PreferenceScores:
        """What a loss sees, padded to `width`."""
        lengths, made = self._lengths(), []
        for view in range(self.views):
            of_view = leaves[view * self.ranks : (view + 1) * self.ranks]
            ranked = [
                self._scored(leaf, rows, i, width) for i, (leaf, rows) in enumerate(zip(of_view, lengths, strict=True))
            ]
            made.append(ranking(*ranked, mismatched=self._scored(leaves[-1], lengths[0], 9, width)))
        made[0].views = tuple(made[1:])
        return made[0]

    def _lengths(self) -> list[list[int]]:
        generator = torch.Generator().manual_seed(self.seed + 1)
        return torch.randint(1, 6, (self.ranks, self.prompts), generator=generator).tolist()

    def _scored(self, leaf: Tensor, lengths: list[int], salt: int, width: int) -> CompletionLogps:
        generator = torch.Generator().manual_seed(self.seed * 10 + salt)
        token_M = torch.randint(self.vocabulary, (len(leaf),), generator=generator)
        ref_M = -4 * torch.rand(len(leaf), generator=generator, dtype=torch.float64)
        tokens = [row.tolist() for row in token_M.split(lengths)]
        made = from_logits(leaf.split(lengths), tokens)
        _, mask_PT = padded([[0.0] * n for n in lengths], width)
        logp_PT = torch.nn.functional.pad(made.logp_PT, (0, width - made.logp_PT.shape[1]))
        return CompletionLogps(logp_PT, mask_PT, torch.zeros_like(logp_PT).masked_scatter(mask_PT, ref_M), made.logits)
