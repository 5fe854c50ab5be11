from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import tiny
from tiny import Chain

from overopt.config import load
from overopt.errors import UserError
from overopt.models.load import load_tokenizer
from overopt.models.text import Codec
from overopt.planning.lengths import Context, lengths_of, pairs_of, written_from
from overopt.records import load_run
from overopt.training.stages import STAGES


@pytest.fixture(scope="module")
def codec(chain: Chain) -> Codec:
    return Codec(load_tokenizer(load_run(chain.policy).checkpoint()), "raw")


def test_what_does_not_fit_is_left_out() -> None:
    known = lengths_of([2, 4, 9, 0], 5, "here")
    assert (known.mean, known.longest, known.source, known.share) == (3, 4, "here", 0.5)
    unknown = lengths_of([9], 5, "here")
    assert (unknown.mean, unknown.longest, unknown.source) == (5, 5, "at their limit")


def test_a_run_tells_how_long_it_wrote(chain: Chain, codec: Codec) -> None:
    stage = load(STAGES, tiny.online(chain))
    run = load_run(chain.policy)
    sizes = run.sample_columns(60, ["length"])["length"]
    known = written_from(str(chain.policy), stage, Context(codec))
    assert known.mean == pytest.approx(sum(sizes) / len(sizes)) and known.longest == max(sizes)
    assert known.source == f"as {chain.policy.name} wrote them last"
    short = load(STAGES, tiny.online(chain, max_completion_tokens=3))
    assert written_from(str(chain.policy), short, Context(codec)).longest == 3  # sampling stops there


def test_of_a_policy_that_is_yet_to_be_made_the_references_tell(chain: Chain, codec: Codec, tmp_path: Path) -> None:
    stage = load(STAGES, tiny.online(chain))
    others = {"sft": load(STAGES, tiny.sft()), "kl": load(STAGES, tiny.online(Chain(tmp_path / "sft", tmp_path)))}
    for name in others:
        known = written_from(str(tmp_path / name), stage, Context(codec, others))
        assert known.source == "as the references are" and 5 < known.mean < known.longest <= 24


def test_of_an_unknown_one_the_limit_is_taken_and_said(chain: Chain, codec: Codec) -> None:
    stage = load(STAGES, tiny.online(chain))
    folder = load_run(chain.policy).checkpoint()
    known = written_from(str(folder), stage, Context(codec))
    assert (known.mean, known.longest, known.source) == (24, 24, "at their limit")


def test_pairs_of_a_run_without_those_held_out(chain: Chain, codec: Codec) -> None:
    pairs = pairs_of(load(STAGES, tiny.offline(chain)), Context(codec))
    rows = list(load_run(chain.reward_model).pairs())
    assert (pairs.count, pairs.heldout, pairs.group) == (64, len(rows) - 64, 2)
    assert pairs.completion.source == "as the pairs are"


def test_pairs_of_a_run_that_is_planned_too(chain: Chain, codec: Codec, tmp_path: Path) -> None:
    stage = load(STAGES, tiny.offline(Chain(chain.policy, tmp_path / "reward")))
    pairs = pairs_of(stage, Context(codec, {"reward": load(STAGES, tiny.reward_model(chain))}))
    assert (pairs.count, pairs.heldout, pairs.group) == (64, 32, 2)
    limited = replace(stage, pairs=replace(stage.pairs, limit=40))
    assert pairs_of(limited, Context(codec, {"reward": load(STAGES, tiny.reward_model(chain))})).count == 40
    with pytest.raises(UserError, match="pairs.path: .*reward is no run; make it first, or plan it too"):
        pairs_of(stage, Context(codec))
