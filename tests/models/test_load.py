from __future__ import annotations

import copy
from pathlib import Path

import pytest
import tiny
import torch
from transformers import AutoModelForSequenceClassification

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
    with pytest.raises(UserError, match="cannot be loaded as AutoModelForCausalLM"):
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


@pytest.mark.parametrize(("architecture", "extra"), [("granite", {"logits_scaling": 4.0}), ("cohere", {})])
def test_a_model_whose_logits_are_more_than_its_head_is_refused(architecture: str, extra: dict[str, float]) -> None:
    settings = Scratch(architecture=architecture, hidden_size=16, heads=2, init_std=0.3, extra=extra)
    with pytest.raises(UserError, match=f"this {architecture} model is not supported: its log-probabilities differ"):
        settings.build([f"<{i}>" for i in range(20)], 0, CPU, False)


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
