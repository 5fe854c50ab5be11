from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
)

from overopt.errors import UserError
from overopt.models.load import Scratch, load_policy, load_reward_model

CPU = torch.device("cpu")


def test_a_model_from_scratch_is_a_function_of_its_seed() -> None:
    words = ["<pad>", "<eos>", "a"]
    models = [Scratch(hidden_size=8, layers=1).build(words, seed, CPU, False) for seed in (0, 0, 1)]
    first, same, other = (torch.cat([p.flatten() for p in m.parameters()]) for m in models)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert models[0].vocabulary == 3
    assert models[0].model.config.eos_token_id == 1


def test_any_architecture_with_its_own_fields() -> None:
    settings = Scratch(architecture="llama", hidden_size=8, layers=1, heads=2, extra={"num_key_value_heads": 1})
    model = settings.build(["<pad>", "<eos>", "a"], 0, CPU, False).model
    assert type(model).__name__ == "LlamaForCausalLM"
    assert model.config.num_key_value_heads == 1


def test_what_cannot_be_built_is_said() -> None:
    with pytest.raises(UserError, match="model: .*no_such_thing"):
        Scratch(architecture="no_such_thing").build(["<pad>", "<eos>"], 0, CPU, False)
    with pytest.raises(UserError, match="model: "):
        Scratch(architecture="gpt_neox", hidden_size=10, heads=3).build(["<pad>", "<eos>"], 0, CPU, False)
    with pytest.raises(UserError, match="model.tokenizer: this task has no word list"):
        Scratch().build(None, 0, CPU, False)


def test_pretrained_reads_a_folder(tmp_path: Path) -> None:
    saved = tiny.policy()
    saved.save(tmp_path)
    loaded = load_policy(tmp_path, CPU)
    assert all(torch.equal(a, b) for a, b in zip(saved.parameters(), loaded.parameters(), strict=True))
    assert all(p.requires_grad for p in loaded.parameters())


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a Hugging Face model folder .no config.json"):
        load_policy(tmp_path, CPU)


def test_a_broken_folder_is_refused(tmp_path: Path) -> None:
    tiny.policy().save(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(UserError, match="has no weights .model.safetensors"):
        load_policy(tmp_path, CPU)


def test_a_policy_is_no_reward_model(tmp_path: Path) -> None:
    tiny.policy().save(tmp_path)
    with pytest.raises(UserError, match="no weights for score.weight; is it a model of another kind"):
        load_reward_model(tmp_path, CPU)


def test_half_precision_weights_are_trained_in_full(tmp_path: Path) -> None:
    saved = tiny.policy()
    saved.model.to(torch.bfloat16)
    saved.save(tmp_path)
    assert {p.dtype for p in load_policy(tmp_path, CPU).parameters()} == {torch.float32}


def test_a_model_from_scratch_takes_a_tokenizer(tmp_path: Path) -> None:
    tiny.policy().save(tmp_path)
    policy = Scratch(hidden_size=8, layers=1, tokenizer=str(tmp_path)).build(None, 0, CPU, False)
    assert (policy.vocabulary, policy.end_ids) == (142, {1})


def test_architectures_without_fused_attention_take_the_plain_one() -> None:
    settings = Scratch(architecture="gptj", hidden_size=16, heads=2, init_std=0.3, extra={"rotary_dim": 4})
    assert settings.build([f"<{i}>" for i in range(20)], 0, CPU, False).vocabulary == 20


def test_a_classifier_of_two_labels_is_no_reward_model(tmp_path: Path) -> None:
    policy = tiny.policy()
    config = copy.deepcopy(policy.model.config)
    config.num_labels = 2
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path)
    policy.tokenizer.save_pretrained(tmp_path)
    with pytest.raises(UserError, match="a reward model has one label, this classifier has 2"):
        load_reward_model(tmp_path, CPU)


def test_a_tokenizer_without_end_of_sequence_is_refused(tmp_path: Path) -> None:
    policy = tiny.policy()
    policy.tokenizer.eos_token = None
    policy.save(tmp_path)
    with pytest.raises(UserError, match="names no end-of-sequence token"):
        load_policy(tmp_path, CPU)


def test_the_text_model_of_one_that_sees_trains(tmp_path: Path) -> None:
    tokenizer = tiny.policy().tokenizer
    text = {"vocab_size": 142, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "head_dim": 8}
    text |= {"num_key_value_heads": 1, "intermediate_size": 32, "initializer_range": 0.3}
    vision = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    vision |= {"image_size": 28, "patch_size": 14}
    config = Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4)
    torch.manual_seed(0)
    whole = Gemma3ForConditionalGeneration(config).eval()
    whole.save_pretrained(tmp_path / "whole")
    tokenizer.save_pretrained(tmp_path / "whole")
    ids = torch.tensor([[3, 4, 5, 20, 21]])
    policy = load_policy(tmp_path / "whole", CPU)
    policy.save(tmp_path / "saved")
    with torch.no_grad():
        expected = whole(input_ids=ids).logits
        assert torch.equal(policy.model(input_ids=ids).logits, expected)
        assert torch.equal(load_policy(tmp_path / "saved", CPU).model(input_ids=ids).logits, expected)


@pytest.mark.parametrize("architecture", ["roberta", "deberta-v2", "bert"])
def test_an_encoder_is_no_reward_model(architecture: str, tmp_path: Path) -> None:
    sizes = {"vocab_size": 142, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = AutoConfig.for_model(architecture, **sizes, intermediate_size=32, num_labels=1)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path)
    tiny.policy().tokenizer.save_pretrained(tmp_path)
    with pytest.raises(
        UserError, match=f"a {architecture} classifier is no reward model of overopt, .*Name a .*, or call"
    ):
        load_reward_model(tmp_path, CPU)


def test_a_model_with_an_encoder_and_a_decoder_is_no_policy(tmp_path: Path) -> None:
    tiny.policy().save(tmp_path)
    AutoConfig.for_model("t5", d_model=16, num_layers=1, num_heads=2).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="a t5 model has an encoder and a decoder"):
        load_policy(tmp_path, CPU)


def test_a_model_that_looks_ahead_is_no_policy(tmp_path: Path) -> None:
    sizes = {"vocab_size": 142, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    AutoModelForCausalLM.from_config(AutoConfig.for_model("bert", **sizes)).save_pretrained(tmp_path)
    tiny.policy().tokenizer.save_pretrained(tmp_path)
    with pytest.raises(UserError, match="this bert model is not causal"):
        load_policy(tmp_path, CPU)


def test_a_head_of_several_outputs_is_no_reward_model(tmp_path: Path) -> None:
    tiny.policy().save(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    save_file(weights | {"v_head.summary.weight": torch.ones(2, 16)}, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"no weights for score.weight; .*v_head\.summary\.weight"):
        load_reward_model(tmp_path, CPU)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gpt_neox", "bloom"])
def test_weights_of_more_layers_than_the_configuration_names_are_refused(architecture: str, tmp_path: Path) -> None:
    tiny.policy(architecture).save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    layers = next(key for key in ("num_hidden_layers", "n_layer") if key in config)
    (tmp_path / "config.json").write_text(json.dumps(config | {layers: 1}))
    with pytest.raises(
        UserError, match=r"its weights hold what its config.json leaves out, .*\.1\..*; restore the config.json"
    ):
        load_policy(tmp_path, CPU)


@pytest.mark.parametrize(
    ("name", "left_out"),
    [
        ("model.layers.0.self_attn.q_proj.bias", True),
        ("lm_head.bias", True),
        ("layers.0.self_attn.q_norm.weight", True),
        ("model.layers.0.self_attn.rotary_emb.inv_freq", False),
        ("model.layers.0.self_attn.masked_bias", False),
        ("model.layers.0.attn.bias", False),
        ("v_head.summary.weight", False),
        ("model.mtp_layers.0.weight", False),
        ("vision_tower.layers.0.weight", False),
    ],
)
def test_what_a_folder_holds_besides(name: str, left_out: bool, tmp_path: Path) -> None:
    saved = tiny.policy("llama")
    saved.save(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    save_file(weights | {name: torch.ones(16)}, tmp_path / "model.safetensors", {"format": "pt"})
    if left_out:
        with pytest.raises(UserError, match="its weights hold what its config.json leaves out"):
            load_policy(tmp_path, CPU)
    else:
        assert torch.equal(load_policy(tmp_path, CPU).parameters()[0], saved.parameters()[0])
