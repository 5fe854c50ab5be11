from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from rounding import rounding
from transformers import AutoModelForCausalLM

from overopt.engine.head import logps_of_trees
from overopt.engine.packing import Tree, pack
from overopt.models.body import is_linear
from overopt.models.load import load_policy
from overopt.models.policy import Policy

ARCHITECTURES = {
    "gpt_neox": ("gpt_neox", {}),
    "llama": ("llama", {"tie_word_embeddings": False}),
    "llama tied": ("llama", {"tie_word_embeddings": True, "num_key_value_heads": 1}),
}


@pytest.fixture(params=ARCHITECTURES)
def policy(request: pytest.FixtureRequest) -> Policy:
    architecture, extra = ARCHITECTURES[request.param]
    return tiny.policy(architecture, **extra)


def test_a_saved_folder_is_an_ordinary_one(policy: Policy, tmp_path: Path) -> None:
    policy.save(tmp_path)
    plain, report = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
    ids = torch.tensor([[3, 4, 5, 20, 21]])
    hidden = policy.hidden(pack([Tree([3], [[4, 5, 20, 21]])]))
    with torch.no_grad():
        torch.testing.assert_close(plain(ids).logits[0], policy.logits(hidden), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("listed", [[1, 7, 9], 7, [7]])
def test_sampling_stops_where_generate_does_also_once_saved(policy: Policy, tmp_path: Path, listed: Any) -> None:
    """Odd settings of others stay as they are: transformers saves them only if nothing was changed."""
    policy.save(tmp_path)
    settings = json.loads((tmp_path / "generation_config.json").read_text())
    settings |= {"eos_token_id": listed, "temperature": 0.6, "do_sample": False}
    (tmp_path / "generation_config.json").write_text(json.dumps(settings))
    ends = {1, *(listed if isinstance(listed, list) else [listed])}
    loaded = load_policy(tmp_path, torch.device("cpu"))
    assert loaded.end_ids == loaded.frozen_copy().end_ids == ends
    loaded.end_ids |= {11}  # what a codec adds: the end of its template's turns
    loaded.save(tmp_path / "again")
    again = load_policy(tmp_path / "again", torch.device("cpu"))
    assert again.end_ids == ends | {11}
    assert again.model.generation_config.eos_token_id == sorted(ends | {11})
    assert again.model.generation_config.temperature == 0.6


def test_settings_that_say_the_same_are_saved_as_they_are(policy: Policy, tmp_path: Path) -> None:
    policy.save(tmp_path)
    assert json.loads((tmp_path / "generation_config.json").read_text())["eos_token_id"] == 1


def test_hidden_states_of_a_tree_are_those_of_its_branches(policy: Policy) -> None:
    tree = Tree([3, 4, 5], [[20, 21, 1], [22, 23]])
    together = policy.hidden(pack([tree]))
    for completion, places in [(tree.completions[0], [2, 3, 4, 5]), (tree.completions[1], [2, 6, 7])]:  # what is read
        alone = policy.model.base_model(torch.tensor([[*tree.prompt, *completion]])).last_hidden_state[0, 2:]
        torch.testing.assert_close(together[places], alone, atol=1e-5, rtol=1e-5)


def test_a_body_without_a_pad_token_pads_with_eos(policy: Policy) -> None:
    policy.tokenizer.pad_token = None
    assert Policy(policy.model, policy.tokenizer).pad_id == 1 and policy.end_ids == {1}


def test_dropout_is_off_and_freezing_stops_gradients(policy: Policy) -> None:
    assert not policy.model.training
    policy.freeze()
    assert not any(p.requires_grad for p in policy.parameters())


def test_bf16_computes_in_bf16_on_fp32_weights() -> None:
    policy = tiny.policy()
    half = Policy(policy.model, policy.tokenizer, bf16=True)
    packed = pack(tiny.TREES)
    with torch.no_grad():
        assert half.logits(half.hidden(packed)).dtype == torch.bfloat16
    assert half.head.weight.dtype == torch.float32


FAMILIES = [
    ("gpt_neox", {}),
    ("llama", {"tie_word_embeddings": True}),
    ("llama", {"tie_word_embeddings": False}),
    ("gpt2", {}),
    ("qwen2", {"num_key_value_heads": 2}),
    ("gemma", {"head_dim": 8, "num_key_value_heads": 1}),
    ("phi", {}),
]


@pytest.mark.parametrize(("architecture", "extra"), FAMILIES)
def test_frozen_linear_maps_in_bf16_change_no_result(architecture: str, extra: dict[str, Any]) -> None:
    policy = tiny.policy(architecture, **extra)
    whole = Policy(policy.model, policy.tokenizer, bf16=True)
    whole.tree_attention = policy.tree_attention
    before = logps_of_trees(whole, tiny.TREES, 0.7, 1000).logp_BT
    half = whole.frozen_copy()
    assert torch.equal(logps_of_trees(half, tiny.TREES, 0.7, 1000).logp_BT, before)  # to the last bit
    held = {name: p.dtype for name, p in half.model.named_parameters()}
    linear = {f"{name}.weight" for name, m in half.model.named_modules() if is_linear(m)}
    tied = {"lm_head.weight"} if half.model.config.tie_word_embeddings else set()
    assert {name for name, kind in held.items() if kind == torch.bfloat16 and "weight" in name} == linear - tied
    assert half.model.get_input_embeddings().weight.dtype == torch.float32
    assert all(p.dtype == torch.float32 for p in whole.parameters())


def test_in_float32_nothing_is_halved() -> None:
    assert all(p.dtype == torch.float32 for p in tiny.policy().frozen_copy().parameters())


@pytest.mark.parametrize(("architecture", "extra"), FAMILIES[:4])
def test_a_resting_model_computes_the_same(architecture: str, extra: dict[str, Any]) -> None:
    policy = tiny.policy(architecture, **extra)
    before = logps_of_trees(policy, tiny.TREES, 0.7, 1000).logp_BT
    resting = policy.frozen_copy()
    resting.rest()
    assert all(p.device.type == "meta" for p in resting.parameters())  # between the passes: not on the device
    assert resting.device == torch.device("cpu") and resting.vocabulary == policy.vocabulary
    assert torch.equal(logps_of_trees(resting, tiny.TREES, 0.7, 1000).logp_BT, before)
    assert all(p.device.type == "meta" for p in resting.parameters())


@pytest.mark.parametrize("architecture", ["gpt_neox", "llama"])
def test_checkpointed_layers_of_many_rows_too(architecture: str) -> None:
    """From 256 rows on linear maps are computed otherwise, also when a layer is computed again."""
    policy = tiny.policy(architecture)
    trees = [Tree(list(range(2, 42)), [list(range(3, 60)), list(range(5, 90))])] * 2

    def gradients() -> list[torch.Tensor]:
        policy.model.zero_grad()
        packed = pack(trees)
        policy.hidden(packed)[packed.read_R].square().sum().backward()
        return [p.grad.clone() for p in policy.parameters() if p.grad is not None]

    plain = gradients()
    policy.checkpoint_layers()
    for again, once in zip(gradients(), plain, strict=True):
        torch.testing.assert_close(again, once, atol=1e-4, rtol=1e-4)


def test_checkpointed_layers_give_the_same_gradients_and_no_dropout(policy: Policy) -> None:
    def gradients() -> list[torch.Tensor]:
        policy.model.zero_grad()
        packed = pack(tiny.TREES)
        policy.hidden(packed)[packed.read_R].square().sum().backward()
        return [p.grad.clone() for p in policy.model.base_model.parameters() if p.grad is not None]

    plain, calls = gradients(), []
    policy.checkpoint_layers()
    handle = policy.model.base_model.layers[0].input_layernorm.register_forward_hook(lambda *_: calls.append(1))
    largest = torch.cat([gradient.flatten() for gradient in plain])  # small ones are differences of such
    for again, before in zip(gradients(), plain, strict=True):
        torch.testing.assert_close(again, before, rtol=0, atol=rounding(largest, terms=before.shape[-1]))
    handle.remove()
    assert len(calls) == 2  # once forward, once more on the way back
    assert not any(m.training for m in policy.model.modules() if isinstance(m, torch.nn.Dropout))
