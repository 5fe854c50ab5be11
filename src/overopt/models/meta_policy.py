"""A policy on meta tensors, which have shapes but no data: a step of any model can be measured without its memory."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from overopt.engine.attention import TreeAttention
from overopt.engine.footprint import peak_bytes
from overopt.engine.packing import Packed, Tree, pack
from overopt.models.body import Body
from overopt.models.load import NO_TEXT, meta_model
from overopt.models.policy import Policy

PROBE = 256
"""Tokens of the prompt, and of the completion, of the measured trees."""


class MetaPolicy(Policy):
    """A policy of a Hugging Face configuration on meta tensors, all of it in bf16 if `bf16`.

    `longest` is the length of the longest prompt with completion; a model with a shorter window computes by rows.
    """

    def __init__(self, config: Any, longest: int, bf16: bool = False) -> None:
        super().__init__(meta_model(config).to(torch.bfloat16 if bf16 else torch.float32), NO_TEXT, bf16)
        if self.window is not None and self.window < longest:
            self.tree_attention = False

    def autocast(self) -> AbstractContextManager[Any]:
        return nullcontext()  # torch has no autocast on meta tensors

    def hidden(self, packed: Packed) -> Tensor:
        trees = packed.attention
        return super().hidden(replace(packed, attention=_Fused(trees.sizes, trees.segment_N, trees.read)))


class _Fused(TreeAttention):
    """Fused attention; on meta tensors torch would choose the plain one, which holds all scores."""

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
        fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        outs = [fused(q, k, v, attn_mask=m, scale=scale)[0] for q, k, v, m in self.parts(query, key, value)]
        return torch.cat([out.transpose(1, 2) for out in outs], 1)


def bytes_per_token(model: Body, checkpointed: bool = False) -> float:
    """Bytes of activations that the body of such a model keeps for the backward pass, for each token."""
    policy = MetaPolicy(model.model.config, 2 * PROBE, model.bf16)
    if model.adapter is not None:
        policy.adapter = model.adapter.like(policy.model)
        policy.model.to(policy.head.weight.dtype)
    if checkpointed:
        policy.checkpoint_layers()
    trees = [Tree([0] * PROBE, [[0] * PROBE])] * 2

    def descend(trees: list[Tree]) -> None:
        policy.hidden(pack(trees, policy.device)).sum().backward()

    descend(trees)  # the gradients are allocated now and no longer count
    more = peak_bytes(lambda: descend(trees)) - peak_bytes(lambda: descend(trees[:1]))
    return more / (2 * PROBE)
