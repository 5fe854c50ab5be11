"""The protocols hold no code: what is tested is that the models of this package, and the tests' own, fit them."""

from __future__ import annotations

import inspect

import pytest
import torch
from tiny_models import ARCHITECTURES, Table, tiny_policy

from overopt.engine.model import CausalModel
from overopt.engine.packing import Tree, pack
from overopt.models.policy import Policy


def methods(protocol: type) -> dict[str, list[str]]:
    """Names of a protocol's methods and of their parameters."""
    functions = inspect.getmembers(protocol, inspect.isfunction)
    return {name: list(inspect.signature(f).parameters) for name, f in functions if not name.startswith("_")}


@pytest.mark.parametrize("cls", [Policy, Table])
def test_classes_have_the_methods_of_their_protocol(cls: type) -> None:
    wanted = methods(CausalModel)
    assert "hidden" in wanted
    for name, parameters in wanted.items():
        assert list(inspect.signature(getattr(cls, name)).parameters) == parameters


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_policy_does_what_the_protocol_says(architecture: str) -> None:
    """A cache that is extended token by token gives the hidden states of the whole, also with its rows picked."""
    policy = tiny_policy(architecture)
    ids_NL = torch.tensor([[2, 3, 4], [5, 6, 7]])
    positions_NL = torch.arange(3).expand(2, 3)
    packed = pack([Tree(ids[:1], [ids[1:]]) for ids in ids_NL.tolist()])
    with torch.no_grad():
        whole_NLD = policy.hidden(packed).view(2, 3, -1)
        first_NLD, cache = policy.extend(ids_NL[:, :2], positions_NL[:, :2], torch.ones(2, 2).bool(), None)
        cache.batch_repeat_interleave(2)
        cache.batch_select_indices(torch.tensor([3, 0]))
        order = [1, 0]
        last_NLD, _ = policy.extend(ids_NL[order, 2:], positions_NL[:, 2:], torch.ones(2, 3).bool(), cache)
    torch.testing.assert_close(first_NLD, whole_NLD[:, :2], rtol=0, atol=1e-5)
    torch.testing.assert_close(last_NLD[:, 0], whole_NLD[order, 2], rtol=0, atol=1e-5)
    plain_NLV = policy.model(input_ids=ids_NL).logits
    torch.testing.assert_close(policy.logits(whole_NLD.flatten(0, 1)), plain_NLV.flatten(0, 1), rtol=0, atol=1e-5)
    assert plain_NLV.shape[-1] == policy.vocabulary
    assert (policy.pad_id, policy.end_ids, policy.device) == (0, {1}, torch.device("cpu"))
