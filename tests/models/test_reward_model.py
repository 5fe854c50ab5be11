from __future__ import annotations

from pathlib import Path

import pytest
import tiny
import torch
from transformers import AutoModelForSequenceClassification

from overopt.engine.packing import Tree, pack
from overopt.models.load import load_reward_model
from overopt.models.reward_model import RewardModel

CPU = torch.device("cpu")


def reward_model(architecture: str = "gpt_neox", **extra: object) -> RewardModel:
    return RewardModel.from_policy(tiny.policy(architecture, **extra), torch.Generator().manual_seed(0))


ARCHITECTURES = [
    ("gpt_neox", {}),
    ("llama", {"tie_word_embeddings": False}),
    ("llama", {"tie_word_embeddings": True}),
]


@pytest.mark.parametrize(("architecture", "extra"), ARCHITECTURES)
def test_a_saved_folder_is_an_ordinary_classifier(architecture: str, extra: dict[str, object], tmp_path: Path) -> None:
    ours = reward_model(architecture, **extra)
    ours.normalize(0.25, 2.0)
    ours.save(tmp_path)
    plain, report = AutoModelForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
    assert plain.config.num_labels == 1
    trees = [Tree(t.prompt, [c]) for t in tiny.TREES for c in t.completions]
    with torch.no_grad():
        logits = torch.cat([plain(torch.tensor([[*t.prompt, *t.completions[0]]])).logits[:, 0] for t in trees])
    torch.testing.assert_close(ours.score_trees(trees, 1000), (logits - 0.25) / 2.0, atol=1e-5, rtol=1e-5)


def test_normalization_survives_saving(tmp_path: Path) -> None:
    ours = reward_model()
    raw = ours.score_trees(tiny.TREES, 1000)
    ours.normalize(float(raw.mean()), float(raw.std()))
    scores = ours.score_trees(tiny.TREES, 1000)
    assert float(scores.mean()) == pytest.approx(0, abs=1e-6)
    assert float(scores.std()) == pytest.approx(1, abs=1e-6)
    ours.save(tmp_path)
    loaded = load_reward_model(tmp_path, CPU)
    assert (loaded.mean, loaded.scale) == (ours.mean, ours.scale)
    assert torch.equal(loaded.score_trees(tiny.TREES, 1000), scores)
    assert not any(p.requires_grad for p in loaded.parameters())


def test_scores_do_not_depend_on_padding_or_neighbors() -> None:
    ours = reward_model()
    together = ours.score_trees(tiny.TREES, 10_000)
    apart = torch.cat([ours.score_trees([Tree(t.prompt, [c])], 1) for t in tiny.TREES for c in t.completions])
    torch.testing.assert_close(together, apart, atol=1e-5, rtol=0)


def test_the_body_is_a_copy_that_trains_and_the_head_is_drawn() -> None:
    policy = tiny.policy()
    policy.freeze()
    ours = RewardModel.from_policy(policy, torch.Generator().manual_seed(3))
    expected = torch.empty(1, 16).normal_(0.0, 17**-0.5, generator=torch.Generator().manual_seed(3))
    assert torch.equal(ours.head.weight, expected)
    ours.score(pack(tiny.TREES)).sum().backward()
    assert all(p.grad is not None for p in ours.parameters())
    body, original = ours.model.base_model.state_dict(), policy.model.base_model.state_dict()
    assert all(torch.equal(body[name], original[name]) for name in original)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.zero_()
    assert any(p.abs().sum() > 0 for p in policy.parameters())
