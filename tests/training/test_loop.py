from __future__ import annotations

from pathlib import Path

import pytest
import tiny
from tiny import Chain

from overopt import config as configuration
from overopt.errors import UserError
from overopt.evaluation.evaluator import Evaluator
from overopt.models.text import Codec
from overopt.training.loop import checkpoint_steps, make_evaluator, tokens_in
from overopt.training.run.session import Session
from overopt.training.stages import STAGES


def session(chain: Chain, out: Path, **changes: object) -> Session:
    config = configuration.load(STAGES, tiny.online(chain, **changes))
    return Session(config, out)


def evaluator_of(at: Session, codec: Codec) -> Evaluator:
    return make_evaluator(at, at.config.task, at.config.seed, codec, 0.7)


def test_the_prompt_is_counted_once_for_its_completions() -> None:
    assert tokens_in(tiny.TREES) == (4 + 3 + 2) + (2 + 6 + 1) + (6 + 3 + 5)


def test_checkpoints() -> None:
    assert checkpoint_steps(80, None) == {8, 20, 40, 60, 80}
    assert checkpoint_steps(1, None) == {1}
    assert checkpoint_steps(25, 10) == {10, 20, 25}
    assert checkpoint_steps(3, 10) == {3}


def test_the_evaluator_reads_the_split_of_the_seed(chain: Chain, tmp_path: Path) -> None:
    splits = {}
    for seed in (0, 99, 100):
        at = session(chain, tmp_path / "run", seed=seed)
        policy = at.parents.policy("policy", str(chain.policy))
        evaluator = evaluator_of(at, Codec(policy.tokenizer, "raw"))
        splits[seed] = (evaluator.split, evaluator.prompt_set)
    assert splits[0] == splits[99] == ("tuning", splits[0][1])
    assert splits[100][0] == "test" and splits[100][1] != splits[0][1]


def test_long_prompts_are_counted_and_none_left_is_said(chain: Chain, tmp_path: Path) -> None:
    at = session(chain, tmp_path / "run", max_prompt_tokens=25)
    codec = Codec(at.parents.policy("policy", str(chain.policy)).tokenizer, "raw")
    evaluator = evaluator_of(at, codec)
    longer = at.data["evaluation"].reasons["prompt longer than 25 tokens"]
    assert len(evaluator.records) + longer == 16 and longer > 0
    at = session(chain, tmp_path / "run", max_prompt_tokens=3)
    with pytest.raises(UserError, match="no prompt is left to evaluate on.*'prompt longer than 3 tokens': 16"):
        evaluator_of(at, codec)
