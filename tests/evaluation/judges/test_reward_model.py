"""The reward model scores texts as the run's own evaluation scored the tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny
from tiny import Chain

from overopt.errors import UserError
from overopt.evaluation.judges.base import Comparison, Situation
from overopt.evaluation.judges.reward_model import RewardModelJudge
from overopt.records import Run, load_run
from overopt.training.train import train
from overopt.types import Completion, PromptRecord


@pytest.fixture(scope="module")
def run(chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(
        tiny.online(chain, total_episodes=8, max_completion_tokens=12), tmp_path_factory.mktemp("judged") / "run"
    )


def situation(chain: Chain) -> Situation:
    return Situation(reward_model=load_run(chain.reward_model).checkpoint())


def comparison(row: dict[str, Any]) -> Comparison:
    record = PromptRecord(row["prompt_id"], row["prompt"], row["reference"])
    return Comparison(record, Completion(row["completion"], row["ended"]), Completion(row["reference"]))


def test_scores_are_the_recorded_ones(chain: Chain, run: Run) -> None:
    rows = run.samples(1)
    assert {row["ended"] for row in rows} == {True, False}  # both ways of ending are scored
    pairs = [comparison(row) for row in rows]
    scores = RewardModelJudge().scores(pairs, situation(chain))
    assert [ours for ours, _ in scores] == pytest.approx([row["proxy"] for row in rows], abs=1e-5)
    judged = RewardModelJudge().judge(pairs, situation(chain))
    assert [j.outcome for j in judged] == [0.5 if a == b else float(a > b) for a, b in scores]
    assert {j.outcome for j in judged} >= {0.0, 1.0}


def test_an_exchange_of_both_texts_exchanges_the_outcomes(chain: Chain, run: Run) -> None:
    pairs = [comparison(row) for row in run.samples(1)]
    exchanged = [Comparison(pair.record, pair.reference, pair.ours) for pair in pairs]
    same = [Comparison(pair.record, pair.ours, pair.ours) for pair in pairs]
    there, back, tie = (
        [judgement.outcome for judgement in RewardModelJudge().judge(c, situation(chain))]
        for c in (pairs, exchanged, same)
    )
    assert [a + b for a, b in zip(there, back, strict=True) if a is not None and b is not None] == [1.0] * len(pairs)
    assert set(tie) == {0.5}  # though the last bits of two scores may differ


def test_a_text_without_a_token_is_scored(chain: Chain, run: Run) -> None:
    record = comparison(run.samples(1)[0]).record
    empty = [Comparison(record, Completion("", ended), Completion(record.reference or "")) for ended in (True, False)]
    judged = RewardModelJudge().judge(empty, situation(chain))
    assert {judgement.outcome for judgement in judged} <= {0.0, 1.0}
    assert RewardModelJudge().judge([], situation(chain)) == []


def test_another_reward_model_by_its_run_or_its_folder(chain: Chain, run: Run) -> None:
    pairs = [comparison(row) for row in run.samples(1)]
    folder = load_run(chain.reward_model).checkpoint()
    own = RewardModelJudge().identity(situation(chain))
    assert own.id == "reward_model"
    for path, name in ((chain.reward_model, "reward-model"), (folder, folder.name)):
        judge = RewardModelJudge(path=str(path))
        assert judge.scores(pairs, Situation()) == RewardModelJudge().scores(pairs, situation(chain))
        assert judge.identity(Situation()).id == f"reward_model/{name}"
        assert judge.identity(Situation()).hash == own.hash


def test_other_weights_are_another_judge(chain: Chain, tmp_path: Path) -> None:
    other = train(tiny.reward_model(chain, seed=1), tmp_path / "other")
    hashes = {RewardModelJudge(path=str(path)).identity(Situation()).hash for path in (chain.reward_model, other.path)}
    assert len(hashes) == 2


def test_without_a_reward_model_there_is_no_such_judge() -> None:
    with pytest.raises(UserError, match=r"^judge reward_model: there is no reward model of a run here; name one"):
        RewardModelJudge().identity(Situation())
