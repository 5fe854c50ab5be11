from __future__ import annotations

from pathlib import Path

import pytest
import tiny
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from overopt.errors import UserError
from overopt.models.load import load_policy
from overopt.models.merging import write_merged
from overopt.models.reward_model import RewardModel
from overopt.models.trainable import LoRA

IDS = torch.tensor([[3, 4, 5, 6, 20, 21, 1]])


def adapted(model: RewardModel | tiny.Policy, folder: Path) -> torch.Tensor:
    """Adapt, change and save a model; what it says of some tokens."""
    LoRA(rank=3).prepare(model, 0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
        folder.mkdir()
        model.save(folder)
        return model.model(input_ids=IDS).logits


def base(folder: Path) -> tiny.Policy:
    tiny.policy("llama", tie_word_embeddings=True).save(folder)
    return load_policy(folder, torch.device("cpu"))


def test_a_merged_policy_computes_what_the_adapted_one_does(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    ours = adapted(base(tmp_path / "base"), tmp_path / "adapter")
    assert write_merged(str(tmp_path / "adapter"), tmp_path / "merged") == tmp_path / "adapter"
    plain, report = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    theirs = peft.AutoPeftModelForCausalLM.from_pretrained(tmp_path / "adapter").merge_and_unload()
    with torch.no_grad():
        torch.testing.assert_close(plain(IDS).logits, ours, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(plain(IDS).logits, theirs(IDS).logits, atol=1e-5, rtol=1e-5)
    assert not (tmp_path / "merged" / "adapter_config.json").exists()


def test_a_merged_reward_model_is_a_classifier(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    model = RewardModel.from_policy(base(tmp_path / "base"), torch.Generator().manual_seed(0), "plain")
    model.normalize(0.5, 2.0)
    ours = adapted(model, tmp_path / "adapter")
    write_merged(str(tmp_path / "adapter"), tmp_path / "merged")
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged")
    with torch.no_grad():
        torch.testing.assert_close(plain(IDS).logits, ours, atol=1e-5, rtol=1e-5)
    assert (plain.config.reward_mean, plain.config.reward_scale) == (0.5, 2.0)


def test_nothing_is_written_over(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    adapted(base(tmp_path / "base"), tmp_path / "adapter")
    (tmp_path / "merged").mkdir()
    with pytest.raises(UserError, match="merged: exists already; name a folder that does not"):
        write_merged(str(tmp_path / "adapter"), tmp_path / "merged")
    assert not list((tmp_path / "merged").iterdir())


def test_a_whole_model_needs_no_merging(tmp_path: Path) -> None:
    base(tmp_path / "base")
    with pytest.raises(UserError, match="holds no adapter"):
        write_merged(str(tmp_path / "base"), tmp_path / "merged")
