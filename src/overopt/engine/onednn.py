"""Linear maps on a CPU by oneDNN, which torch includes: a tenth faster than torch's default, and twice for few rows.

For the few rows of decoding, weights are packed once into oneDNN's own layout. A model is not changed: the `forward` of
its linear modules is replaced only within a `with` block, and only in fp32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

MIN_WEIGHTS = 1 << 19
"""Numbers of a weight from which on packing pays; smaller ones fit into the processor's cache anyway."""
PACKING_ROWS = 16
"""Rows of a product for which the layout is optimal; it is correct for any number."""


def packed_linear_maps(modules: Iterable[nn.Module]) -> AbstractContextManager[None]:
    """Large linear maps among the modules run on packed copies of their weights; without gradient, fp32, on a CPU."""
    return _replaced_forwards([m for m in modules if _worth_packing(m)], _packed_forward)


@contextmanager
def _replaced_forwards(modules: list[Any], make: Callable[[nn.Linear], Callable[[Tensor], Tensor]]) -> Iterator[None]:
    for module in modules:
        module.forward = make(module)  # an attribute of the instance, which hides the class's method
    try:
        yield
    finally:
        for module in modules:
            del module.forward


def _can_be_replaced(module: nn.Module) -> bool:
    """Whether a module is a plain fp32 linear map on a CPU: no subclass, and not already replaced."""
    if type(module) is not nn.Linear or "forward" in vars(module) or not torch.backends.mkldnn.is_available():
        return False
    return module.weight.device.type == "cpu" and module.weight.dtype == torch.float32


def _worth_packing(module: Any) -> bool:
    return _can_be_replaced(module) and module.weight.numel() >= MIN_WEIGHTS


def _packed_forward(module: nn.Linear) -> Callable[[Tensor], Tensor]:
    operations: Any = torch.ops.mkldnn
    weight = operations._reorder_linear_weight(module.weight.detach(), PACKING_ROWS)
    bias = None if module.bias is None else module.bias.detach()
    return lambda x: _product(x, weight, bias)


@contextmanager
def onednn_linear_maps(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Linear maps among the modules by oneDNN, forward and backward; those that are replaced already stay so."""
    chosen = [m for m in modules if _can_be_replaced(m)]
    _replaced.append(chosen)
    try:
        with _replaced_forwards(chosen, _onednn_forward):
            yield
    finally:
        _replaced.pop()


_replaced: list[list[nn.Module]] = []
"""The modules that run by oneDNN now, by context, the innermost last."""


def as_in_forward() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """The contexts of a forward pass and of its repetition in the backward pass, for torch's checkpointing.

    The repetition comes after the contexts of the forward pass have ended, and must compute linear maps as that did.
    """
    return nullcontext(), onednn_linear_maps([m for modules in _replaced for m in modules])


def _onednn_forward(module: nn.Linear) -> Callable[[Tensor], Tensor]:
    return lambda x: _OneDNNLinear.apply(x, module.weight, module.bias)


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x weight' + bias."""
    result: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return result


class _OneDNNLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        wants_x, wants_weight, _ = ctx.needs_input_grad
        ctx.save_for_backward(x if wants_weight else None, weight if wants_x else None)  # not what stays frozen
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
