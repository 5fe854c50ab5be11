"""The check at load, with the uncompiled kernel that a CPU has."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import tiny
import torch
from torch.nn.attention import flex_attention as flex

from overopt.engine import attention_flex
from overopt.engine.head import logps_of_trees
from overopt.models.flex import flex_agrees
from overopt.models.verify import choose_attention

Use = Callable[[Any], None]


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Iterator[Use]:
    """Takes a kernel in place of the compiled one; a backward pass is allowed on a CPU."""
    monkeypatch.setattr(flex, "_validate_device", lambda *tensors: None)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*flex_attention called without torch.compile.*")
        yield lambda kernel: monkeypatch.setattr(attention_flex, "compiled", lambda: kernel)


@pytest.mark.parametrize(("architecture", "extra"), [("gpt_neox", {}), ("llama", {"num_key_value_heads": 1})])
def test_a_right_kernel_is_used(use: Use, architecture: str, extra: dict[str, Any]) -> None:
    use(flex.flex_attention)
    policy = tiny.policy(architecture, **extra)
    plain = logps_of_trees(policy, tiny.TREES, 1.0, 1000)
    assert flex_agrees(policy) and not policy.flex_attention
    policy.flex_attention = True
    torch.testing.assert_close(logps_of_trees(policy, tiny.TREES, 1.0, 1000).logp_BT, plain.logp_BT, rtol=0, atol=1e-5)
    assert policy.frozen_copy().flex_attention


def test_a_wrong_kernel_is_not(use: Use) -> None:
    use(lambda query, key, value, **rest: flex.flex_attention(query, key, value, **rest | {"block_mask": None}))
    assert not flex_agrees(tiny.policy())


def test_a_kernel_whose_gradients_are_wrong_is_not(use: Use) -> None:
    def kernel(query: Any, *rest: Any, **named: Any) -> Any:
        return flex.flex_attention(query.detach(), *rest, **named)

    use(kernel)
    assert not flex_agrees(tiny.policy())


def test_a_kernel_that_cannot_be_compiled_is_not_and_says_so(use: Use, capsys: pytest.CaptureFixture[str]) -> None:
    def kernel(*rest: Any, **named: Any) -> Any:
        raise NotImplementedError("no compiler here\nand more")

    use(kernel)
    assert not flex_agrees(tiny.policy())
    assert capsys.readouterr().err == "overopt: flex attention is not used: NotImplementedError: no compiler here\n"


def test_on_a_cpu_nothing_is_tried(use: Use) -> None:
    use(None)
    policy = tiny.policy()
    choose_attention(policy)
    assert policy.tree_attention and not policy.flex_attention
