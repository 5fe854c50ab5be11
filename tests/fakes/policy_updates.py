"""Policy updates of random rows in float64, and gradients by finite differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from overopt.types import PolicyUpdate, TokenLogits

VOCABULARY = 4


def random_update(widths: Sequence[int], seed: int = 0, padding: int = 0, spread: float = 0.3) -> PolicyUpdate:
    """Rows of these lengths whose new, old and reference log-probabilities come from random logits.

    The same seed and widths give the same rows, whatever the padding.
    """
    generator = torch.Generator().manual_seed(seed)
    mask_BT = torch.arange(max(widths) + padding) < torch.tensor(widths)[:, None]
    count = sum(widths)
    base_MV = torch.randn(count, VOCABULARY, dtype=torch.float64, generator=generator)
    new_MV, old_MV, ref_MV = (
        base_MV + spread * torch.randn(count, VOCABULARY, dtype=torch.float64, generator=generator) for _ in range(3)
    )
    token_M = torch.randint(VOCABULARY, (count,), generator=generator)
    advantage_B = torch.randn(len(widths), dtype=torch.float64, generator=generator)
    return from_logits(new_MV, old_MV, ref_MV, token_M, mask_BT, advantage_B)


def from_logits(
    new_MV: Tensor, old_MV: Tensor, ref_MV: Tensor, token_M: Tensor, mask_BT: Tensor, advantage_B: Tensor
) -> PolicyUpdate:
    """The update in which `token_M` were sampled at the places of the mask, row by row."""

    def logp_BT(logits_MV: Tensor) -> Tensor:
        logp_M = logits_MV.log_softmax(-1).gather(1, token_M[:, None])[:, 0]
        return logp_M.new_zeros(mask_BT.shape).masked_scatter(mask_BT, logp_M)

    return PolicyUpdate(
        logp_BT=logp_BT(new_MV),
        old_logp_BT=logp_BT(old_MV),
        mask_BT=mask_BT,
        advantage_B=advantage_B,
        ref_logp_BT=logp_BT(ref_MV),
        logits=TokenLogits(new_MV, token_M, mask_BT.nonzero()[:, 0], old_MV, ref_MV),
    )


def rows(update: PolicyUpdate, order: Sequence[int]) -> PolicyUpdate:
    """Some rows of an update, in this order; what they know of the whole minibatch stays."""
    assert isinstance(update.logits, TokenLogits) and update.ref_logp_BT is not None
    index = list(order)
    place_BT = torch.full(update.mask_BT.shape, -1).masked_scatter(
        update.mask_BT, torch.arange(int(update.mask_BT.sum()))
    )
    mask_BT = update.mask_BT[index]
    m = place_BT[index][mask_BT]
    old, ref = update.logits.old_MV, update.logits.ref_MV
    assert old is not None and ref is not None
    return PolicyUpdate(
        logp_BT=update.logp_BT[index],
        old_logp_BT=update.old_logp_BT[index],
        mask_BT=mask_BT,
        advantage_B=update.advantage_B[index],
        ref_logp_BT=update.ref_logp_BT[index],
        logits=TokenLogits(update.logits.new_MV[m], update.logits.token_M[m], mask_BT.nonzero()[:, 0], old[m], ref[m]),
        mean_len=update.mean_len,
        max_len=update.max_len,
    )


def with_logp(update: PolicyUpdate, logp_BT: Tensor) -> PolicyUpdate:
    """The same rows with other new log-probabilities."""
    return PolicyUpdate(
        logp_BT=logp_BT,
        old_logp_BT=update.old_logp_BT,
        mask_BT=update.mask_BT,
        advantage_B=update.advantage_B,
        ref_logp_BT=update.ref_logp_BT,
    )


def differences(function: Callable[[Tensor], Tensor], at: Tensor, step: float = 1e-6) -> Tensor:
    """The gradient of a scalar function by central differences."""
    gradient = torch.zeros_like(at)
    for index in range(at.numel()):
        nudge = torch.zeros_like(at)
        nudge.view(-1)[index] = step
        with torch.no_grad():
            gradient.view(-1)[index] = (function(at + nudge) - function(at - nudge)) / (2 * step)
    return gradient


def gradient(function: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """The gradient of a scalar function by autograd."""
    leaf = at.detach().clone().requires_grad_()
    (result,) = torch.autograd.grad(function(leaf), leaf)
    return result
