"""Our GPT-NeoX is transformers': hidden states, gradients, and what it does not compute."""

from __future__ import annotations

from typing import Any

import pytest
import tiny
import torch
from torch import Tensor

from overopt.engine import native
from overopt.engine.packing import Tree, pack
from overopt.models import neox
from overopt.models.policy import Policy

TREES = [Tree([3, 4, 5], [[20, 21, 1], [22, 23]]), Tree([6, 7], [[24, 25, 26, 1], [27]])]

SHAPES: dict[str, dict[str, Any]] = {
    "as Pythia": {},
    "one after the other": {"use_parallel_residual": False},
    "all dimensions rotate": {"rotary_pct": 1.0},
    "without biases": {"attention_bias": False},
}


@pytest.fixture(params=SHAPES)
def policy(request: pytest.FixtureRequest) -> Policy:
    return tiny.policy("gpt_neox", **SHAPES[request.param])


def stock(policy: Policy) -> tuple[Tensor, list[Tensor]]:
    """What is read of each branch by transformers' forward, and the gradients of its squares' sum."""
    policy.model.zero_grad()
    read, seen = [], set()
    for number, tree in enumerate(TREES):
        for completion in tree.completions:
            ids = torch.tensor([[*tree.prompt, *completion]])
            hidden = policy.model.base_model(input_ids=ids).last_hidden_state[0]
            read.append(hidden[len(tree.prompt) - (number not in seen) :])
            seen.add(number)  # the prompt's last place is one place, however many completions read it
    together = torch.cat(read)
    together.square().sum().backward()
    return together.detach(), gradients(policy)


def gradients(policy: Policy) -> list[Tensor]:
    return [p.grad.clone() for p in policy.model.base_model.parameters() if p.grad is not None]


COMPILED = [False]
if native.library() is not None:
    COMPILED.append(True)


@pytest.mark.parametrize("compiled", COMPILED)
def test_hidden_states_and_gradients_are_transformers(
    policy: Policy, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "available", lambda device: compiled)
    assert neox.can_run(policy.model.base_model)
    expected, expected_gradients = stock(policy)
    policy.model.zero_grad()
    packed = pack(TREES)
    hidden = policy.hidden(packed)
    hidden[packed.read_R].square().sum().backward()
    torch.testing.assert_close(hidden[packed.read_R].detach(), expected, atol=1e-5, rtol=1e-5)
    assert len(gradients(policy)) == len(expected_gradients) > 10
    for ours, theirs in zip(gradients(policy), expected_gradients, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(policy.hidden(packed), hidden.detach(), atol=1e-6, rtol=1e-6)


def test_the_last_layer_computes_only_what_is_read(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []
    for layer in policy.model.base_model.layers:
        layer.mlp.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    packed = pack(TREES)
    policy.hidden(packed)
    everything, read = len(packed.ids_N), len(packed.read_R)
    assert read == everything - 3
    assert rows == [everything] * (len(rows) - 1) + [read]
    nothing_of_prompts = policy.hidden(packed)[[0, 1, 8]]
    assert not nothing_of_prompts.any()


def test_targets_in_the_prompt_are_read_too() -> None:
    packed = pack([Tree([3, 4, 5], [[20, 1]])], prompt_targets=True)
    assert packed.read_R.tolist() == [0, 1, 2, 3, 4]


def test_other_bodies_run_by_their_own_forward(policy: Policy) -> None:
    assert not neox.can_run(tiny.policy("llama").model.base_model)
    policy.checkpoint_layers()
    assert not neox.can_run(policy.model.base_model)

    class Adapted(type(policy.model.base_model.layers[0].attention)):  # type: ignore[misc]
        pass

    adapted = tiny.policy("gpt_neox").model.base_model
    adapted.layers[1].attention.__class__ = Adapted
    assert not neox.can_run(adapted)
