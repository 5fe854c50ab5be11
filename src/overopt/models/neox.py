"""GPT-NeoX (Pythia, the miniature's models) in as few operations as possible.

Small models spend most of their time outside the matrix products, and the layer of transformers makes twice as many
operations as this one. The last layer is computed only at positions that are read. All weights stay in the modules of
transformers, so nothing here has to be saved or copied.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from overopt.engine import native
from overopt.engine.attention import AttentionBackend


def can_run(body: Any) -> bool:
    """Whether `run` can replace this body's forward: unmodified layers without gradient checkpointing."""
    from transformers.models.gpt_neox import modeling_gpt_neox as stock

    if type(body) is not stock.GPTNeoXModel:
        return False
    return all(
        type(layer) is stock.GPTNeoXLayer
        and type(layer.attention) is stock.GPTNeoXAttention
        and not layer.gradient_checkpointing
        for layer in body.layers
    )


def run(
    body: Any, ids_N: Tensor, positions_N: Tensor, attend: AttentionBackend, reads_R: Tensor | None = None
) -> Tensor:
    """Hidden states `[N, D]` after the final norm of flat tokens, or `[R, D]` of `reads_R`; fp32, no dropout."""
    hidden = body.embed_in(ids_N)
    cos, sin = body.rotary_emb(hidden, positions_N[None])
    half = cos.shape[-1] // 2  # the second half of the table repeats the first
    cos, sin = (x[0, :, :half].contiguous() for x in (cos, sin))
    last = len(body.layers) - 1
    for index, layer in enumerate(body.layers):
        reads = reads_R if index == last else None
        attended = _attention(layer.attention, layer.input_layernorm(hidden), cos, sin, attend, index, reads)
        if reads is not None:
            hidden = hidden[reads]
        if layer.use_parallel_residual:
            hidden = attended.add_(hidden).add_(layer.mlp(layer.post_attention_layernorm(hidden)))
        else:
            hidden = attended.add_(hidden)
            hidden = layer.mlp(layer.post_attention_layernorm(hidden)).add_(hidden)
    result: Tensor = body.final_layer_norm(hidden)
    return result


def _attention(
    attention: Any,
    normed: Tensor,
    cos: Tensor,
    sin: Tensor,
    attend: AttentionBackend,
    layer: int,
    reads_R: Tensor | None,
) -> Tensor:
    qkv_NHCd = attention.query_key_value(normed).view(len(normed), -1, 3, attention.head_size)
    query, key, value = (x.transpose(0, 1)[None] for x in _rotated(qkv_NHCd, cos, sin).unbind(2))
    if reads_R is not None:
        query = query[:, :, reads_R]
    attended = attend.attend(layer, query, key, value, attention.scaling)
    result: Tensor = attention.dense(attended.reshape(query.shape[2], -1))
    return result


def _rotated(qkv_NHCd: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Queries, keys and values, with the first dimensions of queries and keys rotated in place."""
    if torch.is_grad_enabled() and qkv_NHCd.requires_grad:
        rotated: Tensor = _Rotation.apply(qkv_NHCd, cos, sin)
        return rotated
    _rotate(qkv_NHCd, cos, sin)
    return qkv_NHCd


def _rotate(qkv_NHCd: Tensor, cos: Tensor, sin: Tensor) -> None:
    """Apply the rotary embedding in place: (a, b) -> (a cos - b sin, b cos + a sin)."""
    rows, half = cos.shape
    library = native.library() if native.available(qkv_NHCd.device) else None
    if library is not None and qkv_NHCd.is_contiguous():
        pointers = (x.data_ptr() for x in (qkv_NHCd, cos, sin))
        library.rotate(*pointers, rows, qkv_NHCd.shape[1], qkv_NHCd.shape[3], half)
        return
    cos, sin = cos[:, None, None], sin[:, None, None]
    a, b = qkv_NHCd[:, :, :2, :half], qkv_NHCd[:, :, :2, half : 2 * half]
    a_sin = a * sin
    a.mul_(cos).addcmul_(b, sin, value=-1)
    b.mul_(cos).add_(a_sin)


class _Rotation(torch.autograd.Function):
    """The rotation in place on the linear map's output, which no backward pass needs; its gradient rotates back."""

    @staticmethod
    def forward(ctx: Any, qkv_NHCd: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.angle = cos, sin
        _rotate(qkv_NHCd, cos, sin)
        ctx.mark_dirty(qkv_NHCd)
        return qkv_NHCd

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_NHCd: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.angle
        grad_NHCd = grad_NHCd.clone(memory_format=torch.contiguous_format)
        _rotate(grad_NHCd, cos, -sin)
        return grad_NHCd, None, None
