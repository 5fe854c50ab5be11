from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny
import torch
from tiny import Chain

from overopt import config as configuration
from overopt.errors import UserError
from overopt.models.load import Scratch
from overopt.models.text import Codec
from overopt.training.loop import fit_window, make_evaluator, parent_policy, parent_scorer, tokens_in
from overopt.training.run.session import Session
from overopt.training.stages import STAGES


def session(chain: Chain, out: Path, **changes: object) -> Session:
    config = configuration.load(STAGES, tiny.online(chain, **changes))
    return Session(config, out, config.compute)


def test_the_prompt_is_counted_once_for_its_completions() -> None:
    assert tokens_in(tiny.TREES) == (4 + 3 + 2) + (2 + 6 + 1) + (6 + 3 + 5)


def test_parents_are_loaded_and_remembered(chain: Chain, tmp_path: Path) -> None:
    at = session(chain, tmp_path / "run")
    policy = parent_policy(at, "policy", str(chain.policy))
    scorer = parent_scorer(at, str(chain.reward_model), Codec(policy.tokenizer, "raw"))
    assert all(p.requires_grad for p in policy.parameters())
    assert not any(p.requires_grad for p in scorer.reward_model.parameters())
    assert [(p["role"], p["path"]) for p in at.parents] == [
        ("policy", str(chain.policy)),
        ("reward_model", str(chain.reward_model)),
    ]


def test_a_window_that_only_long_texts_reach_is_held_against_the_limits() -> None:
    extra = {"num_key_value_heads": 2, "sliding_window": 600}
    settings = Scratch(architecture="mistral", hidden_size=16, layers=1, heads=2, context=1024, extra=extra)
    policy = settings.build(["<pad>", "<eos>", "a"], 0, torch.device("cpu"), False)
    assert policy.tree_attention  # no text that is tried at load is as long
    for completion, trees in [(88, True), (89, False)]:
        fit_window(policy, SimpleNamespace(max_prompt_tokens=512, max_completion_tokens=completion))
        assert policy.tree_attention == trees


def test_the_evaluator_reads_the_split_of_the_seed(chain: Chain, tmp_path: Path) -> None:
    splits = {}
    for seed in (0, 99, 100):
        at = session(chain, tmp_path / "run", seed=seed)
        policy = parent_policy(at, "policy", str(chain.policy))
        evaluator = make_evaluator(at.config, at, Codec(policy.tokenizer, "raw"), 0.7)
        splits[seed] = (evaluator.split, evaluator.prompt_set)
    assert splits[0] == splits[99] == ("tuning", splits[0][1])
    assert splits[100][0] == "test" and splits[100][1] != splits[0][1]


def test_long_prompts_are_counted_and_none_left_is_said(chain: Chain, tmp_path: Path) -> None:
    at = session(chain, tmp_path / "run", max_prompt_tokens=25)
    codec = Codec(parent_policy(at, "policy", str(chain.policy)).tokenizer, "raw")
    evaluator = make_evaluator(at.config, at, codec, 0.7)
    longer = at.data["evaluation"].reasons["prompt longer than 25 tokens"]
    assert len(evaluator.records) + longer == 16 and longer > 0
    at = session(chain, tmp_path / "run", max_prompt_tokens=3)
    with pytest.raises(UserError, match="no prompt is left to evaluate on.*'prompt longer than 3 tokens': 16"):
        make_evaluator(at.config, at, codec, 0.7)
