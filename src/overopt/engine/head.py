"""From a packed batch to log-probabilities of completion tokens: the head sees the needed rows only, in chunks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from overopt.engine.model import BodyModel, CausalModel
from overopt.engine.packing import Packed, Tree, micro_batches, pack

LOGITS_PER_CHUNK = 1 << 25
"""Logits held at a time (128 MiB in fp32); of a chunk only its log-probabilities are kept, the rest is recomputed."""


def hidden_states(model: BodyModel, packed: Packed) -> Tensor:
    """Hidden states of all places, flattened to `[N*L, D]`."""
    return model.hidden(packed.ids_NL, packed.positions_NL, packed.mask_N1LL).flatten(0, 1)


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
    logits_MV = model.logits(hidden_MD).float() / temperature
    return logits_MV.log_softmax(-1).gather(1, token_M[:, None])[:, 0]


class TreeLogps(NamedTuple):
    """Log-probabilities of the completions of a batch of trees, `[B, T]`, and where they are real."""

    logp_BT: Tensor
    mask_BT: Tensor


def completion_logps(model: CausalModel, packed: Packed, temperature: float) -> Tensor:
    """Log-probabilities of one packed batch, `[B, T]`, 0 on padding; differentiable."""
    return packed.spread(target_logps(model, hidden_states(model, packed), packed, temperature))


@torch.no_grad()
def logps_of_trees(model: CausalModel, trees: Sequence[Tree], temperature: float, token_budget: int) -> TreeLogps:
    """Log-probabilities of all completions, in order, computed in micro-batches without gradient."""
    width = max((len(c) for tree in trees for c in tree.completions), default=0)
    logps, masks = [], []
    for batch in micro_batches(trees, token_budget):
        packed = pack([trees[i] for i in batch], model.pad_id, model.device)
        logp_BT = completion_logps(model, packed, temperature)
        grow = (0, width - logp_BT.shape[1])
        logps.append(torch.nn.functional.pad(logp_BT, grow))
        masks.append(torch.nn.functional.pad(packed.mask_BT, grow))
    return TreeLogps(torch.cat(logps), torch.cat(masks))
