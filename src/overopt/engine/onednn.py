"""Linear maps on a CPU by oneDNN, which torch carries: a tenth faster than its default, and twice for few rows.

For the few rows that decoding makes, weights are laid out once in oneDNN's own order. Nothing here changes a model: the
maps are replaced while a `with` lasts, in fp32 only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

MIN_WEIGHTS = 1 << 19
"""Smaller weights stay in the processor's cache, however they lie."""
PACKING_ROWS = 16
"""Rows of the products that the layout is chosen for; others are right, too."""


@contextmanager
def packed_linear_maps(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Large linear maps among the modules run on packed copies of their weights; without gradient, fp32, on a CPU."""
    replaced: list[Any] = [m for m in modules if _worth_packing(m)]
    for module in replaced:
        module.forward = _packed_forward(module)  # on the instance: the class's own comes back below
    try:
        yield
    finally:
        for module in replaced:
            del module.forward


def _can_be_replaced(module: nn.Module) -> bool:
    """A plain linear map in fp32 on a CPU, as it came: no adapter's, none that is replaced already."""
    if type(module) is not nn.Linear or "forward" in vars(module) or not torch.backends.mkldnn.is_available():
        return False
    return module.weight.device.type == "cpu" and module.weight.dtype == torch.float32


def _worth_packing(module: Any) -> bool:
    return _can_be_replaced(module) and module.weight.numel() >= MIN_WEIGHTS


def _packed_forward(module: nn.Linear) -> Callable[[Tensor], Tensor]:
    operations: Any = torch.ops.mkldnn
    weight = operations._reorder_linear_weight(module.weight.detach(), PACKING_ROWS)
    bias = None if module.bias is None else module.bias.detach()

    def forward(x: Tensor) -> Tensor:
        result: Tensor = operations._linear_pointwise(x, weight, bias, "none", [], "")
        return result

    return forward


@contextmanager
def onednn_linear_maps(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Linear maps among the modules by oneDNN, forward and backward; those that are replaced already stay so."""
    replaced: list[Any] = [m for m in modules if _can_be_replaced(m)]
    for module in replaced:
        module.forward = _onednn_forward(module)
    try:
        yield
    finally:
        for module in replaced:
            del module.forward


def _onednn_forward(module: nn.Linear) -> Callable[[Tensor], Tensor]:
    def forward(x: Tensor) -> Tensor:
        result: Tensor = _OneDNNLinear.apply(x, module.weight, module.bias)
        return result

    return forward


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x weight' + bias."""
    result: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return result


class _OneDNNLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad
        rows = grad.reshape(-1, grad.shape[-1])
        grad_x = _product(grad, weight.t()) if wants_x else None
        grad_weight = rows.t() @ x.reshape(-1, x.shape[-1]) if wants_weight else None
        return grad_x, grad_weight, rows.sum(0) if wants_bias else None
