from __future__ import annotations

import copy
from typing import Any

import pytest
import tiny
import torch
import transformers

from overopt.engine.footprint import peak_bytes
from overopt.engine.head import target_logps
from overopt.engine.packing import pack
from overopt.models.meta_policy import MetaPolicy, bytes_per_token


def update(body: Any) -> int:
    packed = pack(tiny.TREES, body.device)
    peak = peak_bytes(lambda: target_logps(body, body.hidden(packed), packed, 1.0).sum().backward())
    body.model.zero_grad(set_to_none=True)
    return peak


@pytest.mark.parametrize(("architecture", "extra"), [("gpt_neox", {}), ("llama", {"num_key_value_heads": 1})])
def test_an_outline_holds_what_the_model_holds(architecture: str, extra: dict[str, Any]) -> None:
    """The same tensors at the peak of an update, to the few that only one of the two devices makes."""
    policy = tiny.policy(architecture, **extra)
    outline = MetaPolicy(policy.model.config, 20)
    assert outline.device == torch.device("meta") and outline.tree_attention
    assert update(outline) == pytest.approx(update(policy), rel=0.02)


def test_checkpointed_layers_keep_less() -> None:
    policy = tiny.policy(num_hidden_layers=6)
    outline = MetaPolicy(policy.model.config, 20)
    full = update(outline)
    outline.checkpoint_layers()
    assert update(outline) < 0.8 * full


def test_a_short_window_goes_row_by_row() -> None:
    config = copy.deepcopy(tiny.policy("llama").model.config)
    config.sliding_window = 8
    assert MetaPolicy(config, 8).tree_attention and not MetaPolicy(config, 9).tree_attention


def test_bytes_of_a_token_grow_with_the_layers() -> None:
    """A layer of 16 units in fp32 keeps some fifteen to twenty times its width of each token."""
    two, four = (bytes_per_token(tiny.policy(num_hidden_layers=layers)) for layers in (2, 4))
    assert 10 * 16 * 4 < (four - two) / 2 < 30 * 16 * 4
    assert bytes_per_token(tiny.policy(num_hidden_layers=4), checkpointed=True) < four


@pytest.mark.skipif(
    tuple(map(int, transformers.__version__.split(".")[:2])) < (5, 23),
    reason="transformers 5.8 changes a tensor of the router in place, on meta tensors alone; 5.23 does not",
)
def test_a_mixture_of_experts_is_walked_through_and_holds_no_less_than_it_trains_with() -> None:
    policy = tiny.policy("mixtral", num_key_value_heads=1, num_local_experts=2)
    assert update(MetaPolicy(policy.model.config, 20)) >= update(policy)
