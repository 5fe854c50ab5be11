from __future__ import annotations

import pytest
import torch
from torch import nn

from overopt.engine.onednn import MIN_WEIGHTS, onednn_linear_maps, packed_linear_maps


def large(bias: bool = True) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(512, MIN_WEIGHTS // 512, bias=bias)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [1, 3, 16, 40])
def test_packed_weights_give_the_same_products(rows: int, bias: bool) -> None:
    module, x = large(bias), torch.randn(2, rows, 512)
    with torch.no_grad():
        plain = module(x)
        with packed_linear_maps([module]):
            assert "forward" in vars(module)
            torch.testing.assert_close(module(x), plain, rtol=0, atol=1e-5)
    assert "forward" not in vars(module)


def test_small_weights_and_other_kinds_are_left_alone() -> None:
    class Adapted(nn.Linear):
        pass

    modules = [nn.Linear(8, 8), Adapted(512, MIN_WEIGHTS // 512), large().bfloat16(), nn.LayerNorm(4)]
    with packed_linear_maps(modules):
        assert not any("forward" in vars(m) for m in modules)


def test_the_way_back_holds_after_an_error() -> None:
    module = large()
    with pytest.raises(ZeroDivisionError), packed_linear_maps([module]):
        raise ZeroDivisionError
    assert "forward" not in vars(module)


def test_packed_weights_stay_packed_within_the_faster_products() -> None:
    module = large()
    with packed_linear_maps([module]):
        packed = vars(module)["forward"]
        with onednn_linear_maps([module]):
            assert vars(module)["forward"] is packed
        assert vars(module)["forward"] is packed


@pytest.mark.parametrize("bias", [True, False])
def test_gradients_of_the_faster_products_are_the_plain_ones(bias: bool) -> None:
    torch.manual_seed(0)
    module, weight = nn.Linear(6, 5, bias=bias), torch.randn(2, 3, 5)
    found = []
    for modules in ([], [module]):
        x = torch.randn(2, 3, 6, generator=torch.Generator().manual_seed(1), requires_grad=True)
        with onednn_linear_maps(modules):
            value = (module(x) * weight).sum()
        value.backward()
        found.append([value.detach(), x.grad, *(p.grad for p in module.parameters())])
        module.zero_grad(set_to_none=True)
    for plain, ours in zip(*found, strict=True):
        torch.testing.assert_close(ours, plain)


def test_frozen_weights_pass_the_gradient_on() -> None:
    module, x = nn.Linear(6, 5).requires_grad_(False), torch.randn(3, 6, requires_grad=True)
    with onednn_linear_maps([module]):
        module(x).sum().backward()
    assert x.grad is not None and module.weight.grad is None
    torch.testing.assert_close(x.grad[0], module.weight.sum(0))
