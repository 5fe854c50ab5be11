from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny
import torch
from tiny import Chain

from overopt.engine.compute import Compute
from overopt.errors import UserError
from overopt.models.load import Scratch
from overopt.models.text import Codec
from overopt.training.data import Limits
from overopt.training.run.parents import Parents
from overopt.training.train import train


@pytest.fixture
def parents() -> Parents:
    return Parents(torch.device("cpu"), Compute(), Limits(512, 24), print)


def test_parents_are_loaded_and_remembered(parents: Parents, chain: Chain) -> None:
    policy = parents.policy("policy", str(chain.policy))
    scorer = parents.scorer(str(chain.reward_model), Codec(policy.tokenizer, "raw"))
    assert all(p.requires_grad for p in policy.parameters())
    assert not any(p.requires_grad for p in scorer.reward_model.parameters())
    assert [(p["role"], p["path"]) for p in parents.records] == [
        ("policy", str(chain.policy)),
        ("reward_model", str(chain.reward_model)),
    ]


def test_a_window_that_only_long_texts_reach_is_held_against_the_limits() -> None:
    extra = {"num_key_value_heads": 2, "sliding_window": 600}
    settings = Scratch(architecture="mistral", hidden_size=16, layers=1, heads=2, context=1024, extra=extra)
    policy = settings.build(["<pad>", "<eos>", "a"], 0, torch.device("cpu"), False)
    assert policy.tree_attention  # no text that is tried at load is as long
    for completion, trees in [(88, True), (89, False)]:
        Parents(torch.device("cpu"), Compute(), Limits(512, completion), print).prepare(policy)
        assert policy.tree_attention == trees


def test_a_parent_may_be_a_run_or_a_model_folder(parents: Parents, chain: Chain) -> None:
    folder = chain.policy / "checkpoints" / "step-60"
    assert parents.folder("policy", str(chain.policy), ("sft",)) == folder
    assert parents.folder("policy", str(folder), ("sft",)) == folder
    hashes = [parent["hash"] for parent in parents.records]
    assert all(len(h) == 64 for h in hashes) and hashes[0] != hashes[1]


def test_a_parent_that_will_not_do(parents: Parents, chain: Chain, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="policy: .*nowhere is neither a run directory nor a Hugging Face model folder"):
        parents.folder("policy", str(tmp_path / "nowhere"), ("sft",))
    with pytest.raises(UserError, match="reward_model: .* is a run of stage sft; needed: reward_model"):
        parents.folder("reward_model", str(chain.policy), ("reward_model",))
    run = train(tiny.sft(), tmp_path / "sft")
    info = json.loads((run.path / "run.json").read_text())
    (run.path / "run.json").write_text(json.dumps(info | {"status": "running"}))
    with pytest.raises(UserError, match="policy: .* is running, not finished; finish or repeat that run first"):
        parents.folder("policy", str(run.path), ("sft",))
    assert not parents.records
