"""Weights under the names of a checkpoint, against what transformers writes."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_models
import torch
from safetensors.torch import load_file

from overopt.models.export import checkpoint_tensors


@pytest.mark.parametrize("architecture", ["gpt_neox", "llama"])
def test_they_are_those_of_a_saved_model(architecture: str, tmp_path: Path) -> None:
    policy = tiny_models.tiny_policy(architecture)
    policy.save(tmp_path)
    saved, here = load_file(tmp_path / "model.safetensors"), checkpoint_tensors(policy.model)
    assert here.keys() == saved.keys()
    assert all(torch.equal(here[name], saved[name]) for name in saved)
    assert ("embed_out.weight" in here) == (architecture == "gpt_neox")  # in memory the head has another name
    assert "lm_head.weight" not in here  # a tied head is the embedding


def test_nothing_is_copied() -> None:
    policy = tiny_models.tiny_policy("llama")
    embedding = checkpoint_tensors(policy.model)["model.embed_tokens.weight"]
    assert embedding.data_ptr() == policy.model.get_input_embeddings().weight.data_ptr()
    assert not embedding.requires_grad
