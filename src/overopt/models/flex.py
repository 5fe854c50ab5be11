"""A check at load, on a few trees, whether flex attention gives a model the values of SDPA, tree by tree."""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import Tensor

from overopt.engine.packing import Packed, Tree, pack
from overopt.models.body import Body

SIZES = [(150, (40, 60)), (9, (3, 1, 5)), (260, (20, 30))]
"""Lengths of the prompts and completions in the check; together they span several blocks of the kernel."""


def flex_agrees(body: Body) -> bool:
    """Whether hidden states and gradients equal those of SDPA up to rounding; `body.flex_attention` is unchanged."""
    words = min(body.model.config.vocab_size - 1, 50)
    trees = [Tree(_ids(prompt, words), [_ids(size, words) for size in sizes]) for prompt, sizes in SIZES]
    packed, before = pack(trees, body.device), body.flex_attention
    try:
        body.flex_attention = False
        plain = _values_and_gradients(body, packed)
        body.flex_attention = True
        ours = _values_and_gradients(body, packed)
    except Exception as error:  # if compilation fails for any reason, SDPA remains
        print(f"overopt: flex attention is not used: {type(error).__name__}: {error}".splitlines()[0], file=sys.stderr)
        return False
    finally:
        body.flex_attention = before
    most = 5e-2 if body.bf16 else 1e-4
    return all(float((a - b).norm() / b.norm()) < most for a, b in zip(ours, plain, strict=True))


def _ids(size: int, words: int) -> list[int]:
    return [1 + (7 * t + size) % words for t in range(size)]


@torch.enable_grad()
def _values_and_gradients(body: Body, packed: Packed) -> tuple[Tensor, Tensor]:
    """Hidden states, and the gradient of a weighted sum of them with respect to the embedded tokens."""
    embedded: list[Tensor] = []

    def keep(module: Any, inputs: Any, output: Tensor) -> Tensor:
        embedded.append(output.detach().requires_grad_())
        return embedded[0]

    handle = body.model.get_input_embeddings().register_forward_hook(keep)
    try:
        hidden = body.hidden(packed).float()
    finally:
        handle.remove()
    weight = torch.sin(torch.arange(hidden.numel(), device=hidden.device)).view_as(hidden)
    (gradient,) = torch.autograd.grad((hidden * weight).sum(), embedded[0])
    return hidden.detach(), gradient.float()
