"""Scores of ranked completions, from lists of numbers: what a loss of preferences is called with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from overopt.types import Logits, PreferenceScores, Scored

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


def scored(logps: Tokens, ref_logps: Tokens | None = None, width: int | None = None) -> Scored:
    """One completion of each prompt; its log-probabilities are leaves that gather gradients."""
    logp_PT, mask_PT = padded(logps, width)
    return Scored(
        logp_PT.requires_grad_(), mask_PT, None if ref_logps is None else padded(ref_logps, logp_PT.shape[1])[0]
    )


def sums(logps: Sequence[float], lengths: Sequence[int], ref_logps: Sequence[float] | None = None) -> Scored:
    """Completions of which only the sum over tokens and the length matter."""

    def spread(values: Sequence[float]) -> list[list[float]]:
        return [[value] + [0.0] * (length - 1) for value, length in zip(values, lengths, strict=True)]

    return scored(spread(logps), None if ref_logps is None else spread(ref_logps))


def ranking(*ranked: Scored, **others: Any) -> PreferenceScores:
    """The best first."""
    return PreferenceScores(ranked, **others)


@dataclass(frozen=True)
class DenseLogits:
    """A `LogitSource` of given logits."""

    logits: Logits

    def map(self, function: Callable[[Logits], Tensor]) -> Tensor:
        return function(self.logits)


def from_logits(logits: Sequence[Tensor], tokens: Sequence[Sequence[int]]) -> Scored:
    """Completions whose tokens' log-probabilities are those of dense logits, `[length, V]` for each."""
    new_MV = torch.cat(list(logits))
    token_M = torch.tensor([token for row in tokens for token in row])
    row_M = torch.tensor([i for i, row in enumerate(tokens) for _ in row])
    _, mask_PT = padded([[0.0] * len(row) for row in tokens])
    logp_M = new_MV.log_softmax(1).gather(1, token_M[:, None])[:, 0]
    logp_PT = new_MV.new_zeros(mask_PT.shape).masked_scatter(mask_PT, logp_M)
    return Scored(logp_PT, mask_PT, logits=DenseLogits(Logits(new_MV, token_M, row_M)))


def random_scores(
    seed: int, prompts: int = 3, ranks: int = 2, reference: bool = True, views: int = 1
) -> PreferenceScores:
    """Completions of unequal lengths (1 to 5 tokens) with log-probabilities between -3 and 0; also mismatched ones."""
    generator = torch.Generator().manual_seed(seed)

    def one(lengths: list[int]) -> Scored:
        logps, refs = ([(-3 * torch.rand(n, generator=generator)).tolist() for n in lengths] for _ in range(2))
        return scored(logps, refs if reference else None, 5)

    def lengths() -> list[int]:
        return torch.randint(1, 6, (prompts,), generator=generator).tolist()

    of_rank = [lengths() for _ in range(ranks)]
    made = [ranking(*map(one, of_rank), mismatched=one(of_rank[0])) for _ in range(views)]
    made[0].views = tuple(made[1:])
    return made[0]


def leaves(scores: PreferenceScores) -> list[Tensor]:
    """Every log-probability that a loss may differentiate."""
    everything = [*scores.ranked, *([scores.mismatched] if scores.mismatched else [])]
    return [s.logp_PT for s in everything] + [leaf for view in scores.views for leaf in leaves(view)]


def token_gradients(scored: Scored) -> list[list[float]]:
    """The gradient at the real tokens."""
    assert scored.logp_PT.grad is not None
    return [row[mask].tolist() for row, mask in zip(scored.logp_PT.grad, scored.mask_PT, strict=True)]
