from __future__ import annotations

import sys
from pathlib import Path

import pytest
import tiny
import torch

from overopt.errors import UserError
from overopt.models.load import load_policy
from overopt.models.trainable import Full, LoRA, linear_maps

HIDDEN, INNER = 16, 64


def test_full_trains_everything() -> None:
    policy = tiny.policy()
    Full().prepare(policy, 0)
    assert all(p.requires_grad for p in policy.parameters())
    assert policy.adapter is None


def test_the_library_is_named_if_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(UserError, match="pip install 'overopt\\[peft\\]'"):
        LoRA().prepare(tiny.policy(), 0)


def test_every_linear_map_but_the_head_is_adapted() -> None:
    pytest.importorskip("peft")
    policy = tiny.policy()
    LoRA(rank=2).prepare(policy, 0)
    trained = [p for p in policy.parameters() if p.requires_grad]
    layer = 2 * (HIDDEN + 3 * HIDDEN) + 2 * (HIDDEN + HIDDEN) + 2 * 2 * (HIDDEN + INNER)  # of rank 2: 2 (in + out)
    assert sum(p.numel() for p in trained) == 2 * layer  # two layers
    assert type(policy.head) is torch.nn.Linear and not policy.head.weight.requires_grad


def test_targets_are_the_ends_of_names() -> None:
    pytest.importorskip("peft")
    policy = tiny.policy()
    LoRA(rank=1, targets=["attention.dense"]).prepare(policy, 0)
    trained = [name for name, p in policy.model.named_parameters() if p.requires_grad]
    assert len(trained) == 2 * 2 and all(".attention.dense.lora_" in name for name in trained)


@pytest.mark.parametrize("target", ["q_proj", "embed_out", "embed_in", "ense"])
def test_a_target_that_matches_nothing(target: str, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    tiny.policy().save(tmp_path)
    policy = load_policy(tmp_path, torch.device("cpu"))
    known = "dense, dense_4h_to_h, dense_h_to_4h, query_key_value"
    with pytest.raises(UserError, match=rf"trainable.targets: '{target}' matches no linear map of .*; it has {known}"):
        LoRA(targets=["dense", target]).prepare(policy, 0)


def test_the_draws_are_a_function_of_the_seed_and_move_no_other() -> None:
    pytest.importorskip("peft")
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    drawn = []
    for seed in (1, 1, 2):
        policy = tiny.policy()
        torch.manual_seed(5)
        LoRA().prepare(policy, seed)
        assert torch.equal(torch.rand(3), expected)
        drawn.append(torch.cat([p.flatten() for p in policy.parameters() if p.requires_grad]))
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


def test_linear_maps_of_gpt2_are_found() -> None:
    names = {name.rpartition(".")[2] for name in linear_maps(tiny.policy("gpt2"))}
    assert names == {"c_attn", "c_proj", "c_fc"}
