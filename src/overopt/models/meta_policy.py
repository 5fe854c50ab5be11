"""A policy without memory for its weights: its operations can be walked through, to count what they would hold."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from overopt.engine.attention import TreeAttention
from overopt.engine.footprint import peak_bytes
from overopt.engine.packing import Packed, Tree, pack
from overopt.models.body import Body
from overopt.models.load import meta_model
from overopt.models.policy import Policy

PROBE = 256
"""Tokens of the prompt, and of the completion, of the trees that are walked through."""


class MetaPolicy(Policy):
    """A policy of a Hugging Face configuration on meta tensors; with `bf16` all of it is in bf16.

    `longest`: the longest tree's branch; a model whose window is shorter goes row by row.
    """

    def __init__(self, config: Any, longest: int, bf16: bool = False) -> None:
        ends = SimpleNamespace(eos_token_id=0, pad_token_id=0)
        super().__init__(meta_model(config).to(torch.bfloat16 if bf16 else torch.float32), ends, bf16)
        if self.window is not None and self.window < longest:
            self.tree_attention = False

    def autocast(self) -> AbstractContextManager[Any]:
        return nullcontext()  # torch knows none on meta tensors

    def hidden(self, packed: Packed) -> Tensor:
        trees = packed.attention
        return super().hidden(replace(packed, attention=_Fused(trees.sizes, trees.segment_N, trees.read)))


class _Fused(TreeAttention):
    """Attention as a fused kernel holds it; on meta tensors torch would take the plain one, and all its scores."""

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
        fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        outs = [fused(q, k, v, attn_mask=m, scale=scale)[0] for q, k, v, m in self.parts(query, key, value)]
        return torch.cat([out.transpose(1, 2) for out in outs], 1)


def bytes_per_token(model: Body, checkpointed: bool = False) -> float:
    """What the body of a model like this one keeps of each token for the backward pass."""
    policy = MetaPolicy(model.model.config, 2 * PROBE, model.bf16)
    if checkpointed:
        policy.checkpoint_layers()
    trees = [Tree([0] * PROBE, [[0] * PROBE])] * 2

    def descend(trees: list[Tree]) -> None:
        policy.hidden(pack(trees, policy.device)).sum().backward()

    descend(trees)  # from here on gradients are there and hold nothing more
    more = peak_bytes(lambda: descend(trees)) - peak_bytes(lambda: descend(trees[:1]))
    return more / (2 * PROBE)
