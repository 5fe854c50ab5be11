"""Log-probabilities of the completion tokens of a packed batch; the head is applied to these alone, in chunks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from overopt.engine import ranks
from overopt.engine.model import CausalModel
from overopt.engine.packing import Packed, Tree, micro_batches, pack
from overopt.types import TokenLogits

LOGITS_PER_CHUNK = 1 << 26
"""Logits in memory at a time (256 MiB in fp32); if there are more, the backward pass computes each chunk's again."""


def target_logps(model: CausalModel, hidden: Tensor, packed: Packed, temperature: float) -> Tensor:
    """log softmax(logits / temperature) of the M targets; differentiable."""
    hidden_MD = hidden[packed.source_M]
    rows = max(1, LOGITS_PER_CHUNK // model.vocabulary)
    if len(hidden_MD) <= rows:
        return _logps(model, hidden_MD, packed.token_M, temperature)
    parts = [
        checkpoint(_logps, model, part, token, temperature, use_reentrant=False)
        for part, token in zip(hidden_MD.split(rows), packed.token_M.split(rows), strict=True)
    ]
    return torch.cat(parts)


def _logps(model: CausalModel, hidden_MD: Tensor, token_M: Tensor, temperature: float) -> Tensor:
    logits_MV = model.logits(hidden_MD).float()
    if logits_MV.requires_grad:
        return _TokenLogps.apply(logits_MV, token_M, temperature)
    return _forward_in_place(logits_MV, token_M, temperature)


def _forward_in_place(logits_MV: Tensor, token_M: Tensor, temperature: float) -> Tensor:
    """Log-probabilities of the tokens; overwrites the logits with probabilities."""
    if temperature != 1.0:
        logits_MV.div_(temperature)
    logits_MV.sub_(logits_MV.amax(1, keepdim=True))
    chosen_M = logits_MV.gather(1, token_M[:, None])[:, 0]
    total_M1 = logits_MV.exp_().sum(1, keepdim=True)
    logits_MV.div_(total_M1)
    return chosen_M - total_M1[:, 0].log()


class _TokenLogps(torch.autograd.Function):
    """Log-probabilities of tokens from logits that are used nowhere else.

    One tensor `[M, V]` is kept for the backward pass where plain autograd keeps three: the logits are overwritten with
    probabilities, and these with the gradient. So the backward pass can run only once, as is torch's default.
    """

    @staticmethod
    def forward(ctx: Any, logits_MV: Tensor, token_M: Tensor, temperature: float) -> Tensor:
        logits_MV = logits_MV.detach()
        logp_M = _forward_in_place(logits_MV, token_M, temperature)
        ctx.probability, ctx.token, ctx.temperature = logits_MV, token_M, temperature
        return logp_M

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_M: Tensor) -> tuple[Tensor, None, None]:
        if ctx.probability is None:
            raise RuntimeError("the backward pass of these log-probabilities has already run; compute them again")
        grad_MV, ctx.probability = ctx.probability, None
        grad_M = grad_M / ctx.temperature
        grad_MV.mul_(-grad_M[:, None])
        grad_MV.scatter_add_(1, ctx.token[:, None], grad_M[:, None])
        return grad_MV, None, None


class TreeLogps(NamedTuple):
    """Log-probabilities `[B, T]` of the completions of trees, and a mask that is True at real tokens."""

    logp_BT: Tensor
    mask_BT: Tensor


def completion_logps(model: CausalModel, packed: Packed, temperature: float) -> Tensor:
    """Log-probabilities `[B, T]` of one packed batch, 0 on padding; differentiable."""
    return packed.spread(target_logps(model, model.hidden(packed), packed, temperature))


@torch.no_grad()
def logps_of_trees(model: CausalModel, trees: Sequence[Tree], temperature: float, token_budget: int) -> TreeLogps:
    """Log-probabilities of all completions, in order, computed in micro-batches without gradient."""
    width = max((len(c) for tree in trees for c in tree.completions), default=0)
    logps, masks = [torch.zeros(0, width, device=model.device)], [torch.zeros(0, width, device=model.device).bool()]
    own = ranks.share(trees)
    for batch in micro_batches(own, token_budget):
        packed = pack([own[i] for i in batch], model.device)
        logp_BT = completion_logps(model, packed, temperature)
        grow = (0, width - logp_BT.shape[1])
        logps.append(torch.nn.functional.pad(logp_BT, grow))
        masks.append(torch.nn.functional.pad(packed.mask_BT, grow))
    return TreeLogps(ranks.gathered_rows(torch.cat(logps)), ranks.gathered_rows(torch.cat(masks)))


class TreeMeasures(NamedTuple):
    """What the sampler measures while it draws, of completions that another engine drew."""

    logp_BT: Tensor
    entropy_BT: Tensor
    """Entropy of the distribution of each token, nats."""


@torch.no_grad()
def measured_of_trees(model: CausalModel, trees: Sequence[Tree], temperature: float, token_budget: int) -> TreeMeasures:
    """Log-probabilities as by `logps_of_trees`, and entropies, of all completions, from one forward pass."""
    width = max((len(c) for tree in trees for c in tree.completions), default=0)
    logps, entropies = [], []
    for batch in micro_batches(trees, token_budget):
        packed = pack([trees[i] for i in batch], model.device)
        hidden = model.hidden(packed)
        logp_M = target_logps(model, hidden, packed, temperature)
        entropy_M = ChunkedLogits(model, hidden, packed, temperature).map(_entropies)
        grow = (0, width - packed.width)
        logps.append(torch.nn.functional.pad(packed.spread(logp_M), grow))
        entropies.append(torch.nn.functional.pad(packed.spread(entropy_M), grow))
    return TreeMeasures(torch.cat(logps), torch.cat(entropies))


def _entropies(at: TokenLogits) -> Tensor:
    logp_MV = at.new_MV.log_softmax(-1)
    return -(logp_MV.exp() * logp_MV.clamp(min=-1e9)).sum(-1)


Head = Callable[[Tensor], Tensor]
"""From hidden states `[M, D]` to logits `[M, V]`."""


@dataclass(frozen=True)
class FrozenLogits:
    """A model's logits at the completion tokens of each tree, stored as hidden states and a copy of the head.

    Hidden states `[M, D]` are small where logits `[M, V]` are not.
    """

    head: Head
    hidden_of_tree: Sequence[Tensor]

    def at(self, trees: Sequence[int]) -> FrozenLogits:
        """The logits of some of the trees, in that order."""
        return FrozenLogits(self.head, [self.hidden_of_tree[i] for i in trees])


@torch.no_grad()
def frozen_logits(model: CausalModel, head: Head, trees: Sequence[Tree], token_budget: int) -> FrozenLogits:
    """Hidden states of the completion tokens of every tree, computed in micro-batches without gradient."""
    hidden: list[Tensor] = []
    own = ranks.share(trees)
    for batch in micro_batches(own, token_budget):
        members = [own[i] for i in batch]
        packed = pack(members, model.device)
        sizes = [sum(map(len, tree.completions)) for tree in members]
        hidden += model.hidden(packed)[packed.source_M].split(sizes)
    if ranks.several():
        hidden = [part.to(model.device) for part in ranks.concatenated([part.cpu() for part in hidden])]
    return FrozenLogits(head, hidden)


@dataclass(frozen=True)
class ChunkedLogits:
    """Logits of a packed batch, divided by the temperature, one chunk of tokens at a time (a `LogitSource`).

    Only the function's values are kept for a chunk; the backward pass computes its logits again.
    """

    model: CausalModel
    hidden: Tensor
    packed: Packed
    temperature: float
    old: FrozenLogits | None = None
    ref: FrozenLogits | None = None

    def map(self, function: Callable[[TokenLogits], Tensor]) -> Tensor:
        """Values `[M]` of a function of every token's logits; differentiable."""
        hidden_MD = self.hidden[self.packed.source_M]
        old_MD, ref_MD = (None if f is None else torch.cat(list(f.hidden_of_tree)) for f in (self.old, self.ref))
        rows = max(1, LOGITS_PER_CHUNK // self.model.vocabulary)

        def values(piece_MD: Tensor, start: int) -> Tensor:
            here = slice(start, start + len(piece_MD))
            return function(
                TokenLogits(
                    new_MV=self._logits(self.model.logits, piece_MD),
                    token_M=self.packed.token_M[here],
                    row_M=self.packed.row_M[here],
                    old_MV=self._frozen(self.old, old_MD, here),
                    ref_MV=self._frozen(self.ref, ref_MD, here),
                )
            )

        if len(hidden_MD) <= rows:
            return values(hidden_MD, 0)
        pieces = hidden_MD.split(rows)
        return torch.cat([checkpoint(values, p, i * rows, use_reentrant=False) for i, p in enumerate(pieces)])

    def _logits(self, head: Head, hidden_MD: Tensor) -> Tensor:
        return head(hidden_MD).float() / self.temperature

    @torch.no_grad()
    def _frozen(self, kept: FrozenLogits | None, hidden_MD: Tensor | None, here: slice) -> Tensor | None:
        return None if kept is None or hidden_MD is None else self._logits(kept.head, hidden_MD[here])
