from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from hub import LoopbackHub
from overopt.engine.head import logps_of_trees
from overopt.engine.sampler import DrawKey, sample
from overopt.errors import UserError
from overopt.models.adapter import AdapterFolder, adapter_folder, base_fields, pin_of
from overopt.models.body import Body
from overopt.models.load import load_policy, load_reward_model, model_folder
from overopt.models.policy import Policy
from overopt.models.reward_model import RewardModel
from overopt.models.trainable import LoRA
from overopt.models.verify import use_row_forward

peft = pytest.importorskip("peft")

CPU = torch.device("cpu")
ARCHITECTURES = [("gpt_neox", {}), ("llama", {"tie_word_embeddings": True}), ("gpt2", {})]


def saved(folder: Path, architecture: str = "gpt_neox", **extra: Any) -> Policy:
    """A policy whose weights lie in a folder."""
    tiny.policy(architecture, **extra).save(folder)
    return load_policy(folder, CPU)


def adapted(body: Body, settings: LoRA | None = None) -> None:
    """Give a model an adapter that changes what it computes, as training would."""
    (settings or LoRA(rank=3, alpha=6.0)).prepare(body, 1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in body.parameters():
            if parameter.requires_grad:
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))


def logps(policy: Policy) -> Tensor:
    return logps_of_trees(policy, tiny.TREES, 0.7, 1000).logp_BT


@pytest.mark.parametrize(("architecture", "extra"), ARCHITECTURES)
@pytest.mark.parametrize("by_rows", [False, True])
def test_a_reference_is_the_policy_without_its_adapter(
    architecture: str, extra: dict[str, Any], by_rows: bool, tmp_path: Path
) -> None:
    policy = saved(tmp_path, architecture, **extra)
    if by_rows:
        use_row_forward(policy)
    base, drawn = logps(policy), draws(policy)
    adapted(policy)
    reference = policy.frozen_copy()
    assert float((logps(policy) - base).abs().max()) > 0.05
    assert torch.equal(logps(reference), base)  # to the last bit
    assert draws(reference) == drawn != draws(policy)
    assert float((logps(policy) - base).abs().max()) > 0.05  # the adapter is there again
    assert {p.data_ptr() for p in reference.parameters()} == {p.data_ptr() for p in policy.parameters()}  # no copy
    assert [p for p in policy.parameters() if p.requires_grad]


def draws(policy: Policy) -> list[Any]:
    key = DrawKey(0, "test", 0)
    return sample(policy, [tree.prompt for tree in tiny.TREES], ["a", "b", "c"], 2, 0.7, 8, key).completions()


def test_a_new_adapter_changes_nothing(tmp_path: Path) -> None:
    policy = saved(tmp_path)
    base = logps(policy)
    LoRA().prepare(policy, 0)
    assert torch.equal(logps(policy), base)


def test_its_output_is_that_of_the_formula(tmp_path: Path) -> None:
    policy = saved(tmp_path)
    adapted(policy)
    dense = policy.model.gpt_neox.layers[1].mlp.dense_h_to_4h
    a, b = dense.lora_A["default"].weight, dense.lora_B["default"].weight
    assert a.shape == (3, 16) and b.shape == (64, 3)
    x = torch.randn(5, 16)
    expected = x @ dense.base_layer.weight.T + dense.base_layer.bias + 2.0 * (x @ a.T) @ b.T  # 2 = 6 / 3
    torch.testing.assert_close(dense(x), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(("architecture", "extra"), ARCHITECTURES)
def test_plain_peft_opens_a_policys_adapter(architecture: str, extra: dict[str, Any], tmp_path: Path) -> None:
    policy = saved(tmp_path / "base", architecture, **extra)
    adapted(policy)
    (tmp_path / "adapter").mkdir()
    policy.save(tmp_path / "adapter")
    ours = plain_logits(policy.model)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "base").eval()
    theirs = peft.PeftModel.from_pretrained(plain, tmp_path / "adapter").eval()
    torch.testing.assert_close(plain_logits(theirs), ours, atol=1e-5, rtol=1e-5)
    for by_name in (peft.AutoPeftModelForCausalLM, AutoModelForCausalLM):  # the second is how TRL's trainers open one
        opened = by_name.from_pretrained(tmp_path / "adapter").eval()
        torch.testing.assert_close(plain_logits(opened), ours, atol=1e-5, rtol=1e-5)
    merged = load_policy(tmp_path / "adapter", CPU)  # ours: the adapter added to the weights
    torch.testing.assert_close(logps(merged), logps(policy), atol=1e-5, rtol=1e-5)
    assert merged.adapter is None and all(p.requires_grad for p in merged.parameters())
    names = {name for name, _ in merged.model.named_parameters()}
    assert names == {name for name, _ in plain_names(tmp_path / "base")}


def plain_names(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder).named_parameters()


@torch.no_grad()
def plain_logits(model: Any) -> Tensor:
    return model(input_ids=torch.tensor([[3, 4, 5, 6, 20, 21, 1]])).logits


def test_plain_peft_opens_a_reward_models_adapter(tmp_path: Path) -> None:
    policy = saved(tmp_path / "base")
    model = RewardModel.from_policy(policy, torch.Generator().manual_seed(0), "plain")
    adapted(model)
    assert {n for n, p in model.model.named_parameters() if p.requires_grad and ".lora_" not in n} == {"score.weight"}
    model.normalize(0.25, 2.0)
    (tmp_path / "adapter").mkdir()
    model.save(tmp_path / "adapter")
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "base", num_labels=1).eval()
    theirs = peft.PeftModel.from_pretrained(plain, tmp_path / "adapter").eval()
    torch.testing.assert_close(plain_logits(theirs), plain_logits(model.model), atol=1e-5, rtol=1e-5)
    loaded = load_reward_model(tmp_path / "adapter", CPU)
    assert (loaded.mean, loaded.scale, loaded.prompt_style) == (0.25, 2.0, "plain")
    expected = model.score_trees(tiny.TREES, 1000)
    torch.testing.assert_close(loaded.score_trees(tiny.TREES, 1000), expected, atol=1e-5, rtol=1e-5)


def test_an_adapter_of_plain_peft_is_read(tmp_path: Path) -> None:
    """As PEFT writes it: without the model's config.json and tokenizer."""
    policy = saved(tmp_path / "base")
    config = peft.LoraConfig(r=2, lora_alpha=4, use_dora=True, init_lora_weights=False, task_type="CAUSAL_LM")
    theirs = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(tmp_path / "base"), config).eval()
    theirs.save_pretrained(tmp_path / "adapter")
    read = load_policy(tmp_path / "adapter", CPU)
    torch.testing.assert_close(plain_logits(read.model), plain_logits(theirs), atol=1e-5, rtol=1e-5)
    assert float((plain_logits(read.model) - plain_logits(policy.model)).abs().max()) > 1e-3


def test_an_adapter_on_an_adapter(tmp_path: Path) -> None:
    adapted(first := saved(tmp_path / "base"))
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    first.save(tmp_path / "one")
    second = load_policy(tmp_path / "one", CPU)
    torch.testing.assert_close(logps(second), logps(first), atol=1e-5, rtol=1e-5)
    adapted(second, LoRA(rank=2, alpha=8.0, targets=["dense", "query_key_value"]))
    second.save(tmp_path / "two")
    settings = json.loads((tmp_path / "two" / "adapter_config.json").read_text())
    assert (settings["r"], settings["lora_alpha"], settings["base_model_name_or_path"]) == (
        5,
        5,
        str(tmp_path / "base"),
    )
    theirs = peft.AutoPeftModelForCausalLM.from_pretrained(tmp_path / "two").eval()  # as one adapter of the base
    torch.testing.assert_close(plain_logits(theirs), plain_logits(second.model), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(logps(load_policy(tmp_path / "two", CPU)), logps(second), atol=1e-5, rtol=1e-5)


def test_dropout_acts_where_a_gradient_is_gathered(tmp_path: Path) -> None:
    policy = saved(tmp_path)
    adapted(policy, LoRA(rank=3, dropout=0.5))
    ids = torch.tensor([[3, 4, 5, 6]])
    with torch.no_grad():
        first, second = policy.model(ids).logits, policy.model(ids).logits
    assert torch.equal(first, second)
    assert not torch.equal(policy.model(ids).logits, policy.model(ids).logits)


def broken(folder: Path, **changes: Any) -> Path:
    """An adapter whose configuration says something else."""
    policy = saved(folder / "base")
    adapted(policy)
    (folder / "adapter").mkdir()
    policy.save(folder / "adapter")
    settings = json.loads((folder / "adapter" / "adapter_config.json").read_text())
    (folder / "adapter" / "adapter_config.json").write_text(json.dumps(settings | changes))
    return folder / "adapter"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"peft_type": "IA3"}, "an adapter of kind IA3; overopt reads LORA"),
        ({"bias": "all"}, "bias makes it a kind of LoRA that overopt does not read"),
        ({"megatron_config": {"a": 1}}, "megatron_config makes it"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights makes it"),
        ({"base_model_name_or_path": None}, "does not name the model that it adapts"),
        ({"base_model_name_or_path": "/nowhere/at-all"}, "/nowhere/at-all, does not exist; put it there"),
        ({"r": 2}, "size mismatch"),
        ({"target_modules": ["dense"]}, "does not fit .*base: of its matrices"),
    ],
)
def test_what_cannot_be_read_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        load_policy(broken(tmp_path, **changes), CPU)


def test_an_adapter_of_itself(tmp_path: Path) -> None:
    folder = broken(tmp_path, base_model_name_or_path=str(tmp_path / "adapter"))
    with pytest.raises(UserError, match="trained on itself"):
        load_policy(folder, CPU)


def test_a_pickled_adapter_is_not_loaded(tmp_path: Path) -> None:
    folder = broken(tmp_path)
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(UserError, match="has no adapter_model.safetensors; an adapter in a pickle"):
        load_policy(folder, CPU)


def test_a_head_of_another_model_is_refused(tmp_path: Path) -> None:
    folder = broken(tmp_path)
    tensors = load_file(folder / "adapter_model.safetensors")
    save_file(tensors | {"base_model.model.score.weight": torch.zeros(1, 4)}, folder / "adapter_model.safetensors")
    with pytest.raises(UserError, match="its score.weight does not fit its model"):
        load_policy(folder, CPU)


def test_a_base_in_the_hubs_cache_is_named_as_on_the_hub(tmp_path: Path) -> None:
    """So that the adapter can be opened on another machine."""
    commit = "0123456789" * 4
    fields = base_fields(f"/u/me/.cache/huggingface/hub/models--EleutherAI--pythia-1b-deduped/snapshots/{commit}")
    assert fields == {"base_model_name_or_path": "EleutherAI/pythia-1b-deduped", "revision": commit}
    assert AdapterFolder(tmp_path, fields).base == f"hf://EleutherAI/pythia-1b-deduped@{commit}"
    assert base_fields("/models/pythia") == {"base_model_name_or_path": "/models/pythia"}
    assert AdapterFolder(tmp_path, base_fields("/models/pythia")).base == "/models/pythia"


def test_a_folder_without_an_adapter(tmp_path: Path) -> None:
    assert adapter_folder(tmp_path) is None


def test_an_adapter_on_the_hub_is_added_to_its_model_on_the_hub(loopback_hub: LoopbackHub, tmp_path: Path) -> None:
    policy = saved(tmp_path / "base")
    adapted(policy)
    policy.save(tmp_path / "adapter")
    expected = logps(policy)
    files = {path.name: path.read_bytes() for path in (tmp_path / "adapter").iterdir()}
    settings = json.loads(files["adapter_config.json"])
    for name, folder in (("owner/base", tmp_path / "base"), ("owner/lora", tmp_path / "adapter")):
        loopback_hub.add("model", name, {path.name: path.read_bytes() for path in folder.iterdir()})
    with pytest.raises(UserError, match=r"is '.*base', a folder of its author's machine"):
        load_policy(model_folder("hf://owner/lora"), CPU)
    named = json.dumps(settings | {"base_model_name_or_path": "owner/base"}).encode()
    loopback_hub.add("model", "owner/lora", files | {"adapter_config.json": named})
    found = load_policy(model_folder("hf://owner/lora"), CPU)
    assert torch.allclose(logps(found), expected, atol=1e-5)


def test_what_is_recorded_of_a_model_in_the_cache() -> None:
    folder = f"/cache/hub/models--owner--base/snapshots/{'a' * 40}"
    assert pin_of(folder) == {"location": "hf://owner/base", "revision": "a" * 40, "commit": "a" * 40}
    assert base_fields(folder) == {"base_model_name_or_path": "owner/base", "revision": "a" * 40}
    assert pin_of("/models/base") is None
