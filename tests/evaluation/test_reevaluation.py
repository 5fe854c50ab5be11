from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import foreign
import pytest
import tiny
from tiny import Chain

from overopt.errors import UserError
from overopt.evaluation import completions as completions_module
from overopt.evaluation.completions import Completions
from overopt.evaluation.judges import judge_from
from overopt.evaluation.reevaluation import Reevaluation, evaluate_run, policy_runs
from overopt.evaluation.win_rates import Row
from overopt.records import Run, RunLock, RunWriter, load_run
from overopt.training.train import train

JUDGE = '''
"""Prefers the completion with more words, and of equal ones that which stands first."""

from overopt.config import block
from overopt.errors import UserError
from overopt.evaluation.judges.base import Identity, Judgement, JudgeProtocol, Reply

asked = []


@block
class MyJudge(JudgeProtocol):
    version: str = "one"
    stop_at: int = 0

    def identity(self, situation):
        return Identity("mine/words:own", self.version, "own", "0123")

    def forecast(self, comparisons, situation):
        return f"{len(comparisons)} questions"

    def judge(self, comparisons, situation):
        asked.append([c.key for c in comparisons])
        if self.stop_at and len(asked) == self.stop_at:
            raise KeyboardInterrupt
        situation.progress(len(comparisons) // 2, len(comparisons))
        return [self.one(c) for c in comparisons]

    def one(self, c):
        ours, reference = len(c.ours.text.split()), len(c.reference.text.split())
        sure = "ours" if ours > reference else "reference"
        first = [sure if ours != reference else verdict for verdict in ("ours", "reference")]
        replies = [Reply(place, v, f"{v} \\ud800", 1, "2026-01-01T00:00:00") for place, v in zip("AB", first)]
        return Judgement(0.5 if ours == reference else float(ours > reference), tuple(replies))
'''


BARE = """
from dataclasses import replace

from overopt.config import block
from overopt.tasks import Miniature


@block
class Bare(Miniature):
    def evaluation(self, seed, dropped):
        split, records = Miniature.evaluation(self, seed, dropped)
        return split, [replace(record, reference=None) for record in records]
"""


@pytest.fixture(scope="module")
def trained(chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(tiny.online(chain, checkpoint_every=1, keep="last"), tmp_path_factory.mktemp("later") / "run")


@pytest.fixture
def run(trained: Run, tmp_path: Path) -> Run:
    return load_run(shutil.copytree(trained.path, tmp_path / "run"))


@pytest.fixture
def judge(tmp_path: Path) -> Callable[..., Any]:
    """Makes the user's judge, from a file, with settings."""
    file = tmp_path / "mine.py"
    file.write_text(JUDGE)
    return lambda **settings: judge_from(json.dumps({"name": f"{file}:MyJudge", **settings}))


def words(row: Row) -> float:
    ours, reference = (len(str(row[name]).split()) for name in ("completion", "reference"))
    return 0.5 if ours == reference else float(ours > reference)


@pytest.fixture
def no_models(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(completions_module, "load_policy", refuse)
    monkeypatch.setattr(completions_module, "load_reward_model", refuse)


@pytest.mark.usefixtures("no_models")
def test_gold_says_of_recorded_completions_what_it_said_during_the_run(run: Run) -> None:
    assert run.checkpoints() == [3]
    before = {step: run.samples(step) for step in run.sample_steps()}
    told: list[tuple[int, int]] = []
    rows = evaluate_run(run.path, progress=lambda done, total: told.append((done, total)))
    own = [row for row in run.evaluations() if row["judge"] == "gold"]
    assert [row["step"] for row in rows] == [row["step"] for row in own] == [0, 1, 2, 3]
    for again, first in zip(rows, own, strict=True):
        assert {name: again[name] for name in first} == first
        assert (again["against"], again["max_completion_tokens"]) == ("reference", 24)
        assert again["losses"] == again["n"] - again["wins"] - again["ties"]
        assert again["win_rate_invalid_as_loss"] == first["win_rate"]
    assert {step: run.samples(step) for step in run.sample_steps()} == before
    assert told[0] == (0, 64) and (16, 64) in told and (48, 64) in told
    assert run.judges() == ["gold"] and all(run.is_ordinary(row) for row in run.evaluations("gold"))


@pytest.mark.usefixtures("no_models")
def test_a_judge_of_one_s_own_by_hand(run: Run, judge: Callable[..., Any]) -> None:
    notices: list[str] = []
    rows = evaluate_run(run.path, judge=judge(), notice=notices.append)
    for row in rows:
        samples = [one for one in run.samples(row["step"]) if one["judge"] == "mine/words:own"]
        outcomes = [words(one) for one in samples]
        assert [one["outcome"] for one in samples] == outcomes and len(outcomes) == row["n"] == 16
        assert row["win_rate"] == sum(outcomes) / 16 == row["wins"] / 16 + row["ties"] / 32
        ties = outcomes.count(0.5)
        assert row["first_position_rate"] == (16 + ties) / 32  # once of the two replies, of ties twice
        assert row["order_consistency"] == 1 - ties / 16
        gold = [one for one in run.samples(row["step"]) if one["judge"] == "gold"]
        assert [one["proxy"] for one in samples] == [one["proxy"] for one in gold]
        assert row["gold_mean"] == pytest.approx(sum(one["gold"] for one in gold) / 16)
        assert (row["judge_hash"], row["judge_prompt"], row["judge_prompt_hash"]) == ("one", "own", "0123")
        replies = run.judgements(row["step"])
        assert len(replies) == 32 and {reply["raw_reply"][-1] for reply in replies} == {"?"}
        assert [reply["ours_position"] for reply in replies[:2]] == ["A", "B"]
        assert {reply["verdict"] for reply in replies} <= {"ours", "reference"}
        assert {reply["judge_hash"] for reply in replies} == {"one"}
    differences = [row["win_rate"] - rows[0]["win_rate"] for row in rows]
    assert [row["win_difference"] for row in rows] == pytest.approx(differences)
    assert any(words(one) == 0.5 for one in run.samples(3)) and len({row["win_rate"] for row in rows}) > 1
    assert run.judges() == ["gold", "mine/words:own"]
    assert notices == [f"{run.path}: mine/words:own judges 4 checkpoints, one by one: 64 questions"]


def test_checkpoints_of_choice_are_compared_with_step_0(run: Run, judge: Callable[..., Any]) -> None:
    assert [row["step"] for row in evaluate_run(run.path, judge=judge(), checkpoints="last")] == [0, 3]
    assert [row["step"] for row in evaluate_run(run.path, judge=judge(), checkpoints=[2])] == [0, 2]
    with pytest.raises(UserError, match=r"neither a checkpoint of step 7 nor its completions .* only those of 0, 1, 2"):
        evaluate_run(run.path, checkpoints=[2, 7])


def test_other_limits_stand_side_by_side(run: Run, judge: Callable[..., Any]) -> None:
    rows = evaluate_run(run.path, judge=judge(), limits=[24, 3])
    assert [(row["step"], row["max_completion_tokens"]) for row in rows[:4]] == [(0, 24), (1, 24), (2, 24), (3, 24)]
    assert [(row["step"], row["max_completion_tokens"]) for row in rows[4:]] == [(0, 3), (3, 3)]  # as kept
    short = [one for one in run.samples(3) if one["max_completion_tokens"] == 3]
    assert len(short) == 16 and {one["length"] for one in short} == {3} and not any(one["ended"] for one in short)
    assert rows[0]["win_rate"] > 0 == rows[4]["win_difference"]  # each limit has a step 0 of its own
    assert rows[-1]["kl_ref"] > 0 and rows[-1]["len_mean"] == 3.0
    assert [run.is_ordinary(row) for row in run.evaluations("mine/words:own")].count(False) == 2


def test_against_another_run(run: Run, judge: Callable[..., Any], tmp_path: Path) -> None:
    other = load_run(shutil.copytree(run.path, tmp_path / "other"))
    (other.path / "run.json").write_text(json.dumps(run.info | {"name": "other"}))
    with RunWriter.open(other.path) as writer:  # its completions are the references, all but one
        changed = [one | {"completion": one["reference"]} for one in other.samples(3)]
        changed[0]["completion"] = "mom " * 40
        writer.write_samples(3, changed)
    rows = evaluate_run(run.path, judge=judge(), against=other.path)
    assert {row["against"] for row in rows} == {"other"}
    plain = evaluate_run(run.path, judge=judge())
    samples = {one["prompt_id"]: one for one in run.samples(3) if one["against"] == "other"}
    first = samples[changed[0]["prompt_id"]]
    assert first["outcome"] == 0.0 and first["reference"] == "mom " * 40
    lost = [one["outcome"] for one in run.samples(3) if one["judge"] == "mine/words:own" and one["against"] is None]
    assert rows[-1]["win_rate"] == pytest.approx(plain[-1]["win_rate"] - lost[0] / 16)
    assert len(run.evaluations("mine/words:own")) == 8


def test_against_a_run_of_other_prompts_is_refused(run: Run, chain: Chain, tmp_path: Path) -> None:
    task = tiny.TASK | {"evaluation_count": 4}
    other = train(tiny.online(chain, task=task, total_episodes=8), tmp_path / "other")
    with pytest.raises(
        UserError, match=r"other: its evaluation lacks 12 of the 16 prompts of .*only runs evaluated on"
    ):
        evaluate_run(run.path, against=other.path)
    named = shutil.copytree(run.path, tmp_path / "reference")
    (named / "run.json").write_text(json.dumps(run.info | {"name": "reference"}))
    with pytest.raises(UserError, match="a run named reference cannot be told from the references"):
        evaluate_run(run.path, against=named)


def test_what_was_judged_before_an_interruption_is_kept(run: Run, judge: Callable[..., Any]) -> None:
    with pytest.raises(KeyboardInterrupt):
        evaluate_run(run.path, judge=judge(stop_at=3))
    assert [row["step"] for row in run.evaluations("mine/words:own")] == [0, 1]
    assert len(run.judgements(1)) == 32 and run.judgements(2) == []
    assert [row["step"] for row in evaluate_run(run.path, judge=judge())] == [0, 1, 2, 3]
    assert [row["step"] for row in run.evaluations("mine/words:own")] == [0, 1, 2, 3]


def test_completions_are_kept_if_the_judge_is_stopped(
    run: Run, judge: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KeyboardInterrupt):
        evaluate_run(run.path, judge=judge(stop_at=1), split="test")
    samples = [one for one in run.samples(0) if one["split"] == "test"]
    assert len(samples) == 16 and {one["outcome"] for one in samples} == {None}
    written: list[int] = []
    policy = Completions._policy

    def spy(self: Completions, step: int, limit: int) -> Any:
        written.append(step)
        return policy(self, step, limit)

    monkeypatch.setattr(Completions, "_policy", spy)
    rows = evaluate_run(run.path, judge=judge(), split="test")
    assert written == [3] and [row["step"] for row in rows] == [0, 3]
    assert evaluate_run(run.path, judge=judge(), split="test")[1]["kl_ref"] == rows[1]["kl_ref"]
    assert written == [3]


def test_a_judge_that_was_changed_is_not_mixed_with_itself(run: Run, judge: Callable[..., Any]) -> None:
    notices: list[str] = []
    evaluate_run(run.path, judge=judge(), notice=notices.append)
    evaluate_run(run.path, judge=judge(version="two"), checkpoints="last", notice=notices.append)
    assert "mine/words:own was another judge before (hash one, now two): its earlier rows" in notices[-2]
    rows = run.evaluations("mine/words:own")
    assert [(row["step"], row["judge_hash"]) for row in rows] == [(0, "two"), (3, "two")]


def test_different_judges_are_not_put_into_one_table(run: Run, chain: Chain, tmp_path: Path) -> None:
    file = tmp_path / "task.py"
    file.write_text(
        "from overopt.config import block\nfrom overopt.tasks import Miniature\n\n\n@block\nclass NoGold(Miniature):\n"
        "    has_gold = property(lambda self: False)\n\n    def gold(self, record, completion):\n        return None\n"
    )
    other = shutil.copytree(run.path, tmp_path / "other")
    text = (other / "config.yaml").read_text()
    (other / "config.yaml").write_text(text.replace("name: miniature", f"name: {file}:NoGold"))
    with pytest.raises(UserError, match=r"would be judged by gold and reward_model; name one with --judge\. Win rates"):
        Reevaluation().identify([run.path, other])
    assert Reevaluation(judge_from("reward_model")).identify([run.path, other]).id == "reward_model"
    third = shutil.copytree(run.path, tmp_path / "third")
    changed = train(tiny.reward_model(chain, seed=1), tmp_path / "reward-model")
    text = (third / "config.yaml").read_text()
    before = str(load_run(third).config["reward_model"])
    (third / "config.yaml").write_text(text.replace(before, str(changed.path)))
    with pytest.raises(UserError, match="two judges named reward_model, with different settings or weights"):
        Reevaluation(judge_from("reward_model")).identify([run.path, third])


def test_folders_stand_for_the_policies_in_them(run: Run, chain: Chain, tmp_path: Path) -> None:
    shutil.copytree(chain.reward_model, tmp_path / "reward-model")
    shutil.copytree(chain.policy, tmp_path / "sft")
    assert policy_runs([tmp_path, run.path]) == [run.path]
    assert policy_runs([tmp_path / "sft"]) == [tmp_path / "sft"]  # named
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty: holds no run of a trained policy"):
        policy_runs([tmp_path / "empty"])


def test_the_reward_model_judges_beside_gold(run: Run) -> None:
    before = {row["prompt_id"]: row for row in run.samples(3)}
    rows = evaluate_run(run.path, judge="reward_model")
    assert {row["judge"] for row in rows} == {"reward_model"}
    assert len(run.evaluations("reward_model")) == 4
    samples = run.samples(3)
    gold = {row["prompt_id"]: row for row in samples if row["judge"] == "gold"}
    assert gold == before  # one judge's rows never replace another's
    proxy = [row["outcome"] for row in samples if row["judge"] == "reward_model"]
    assert sum(proxy) / len(proxy) == pytest.approx(rows[-1]["win_rate"])
    assert not (run.path / "judgements").exists()


def test_the_cost_is_said_before_anything_is_written(run: Run, judge: Callable[..., Any]) -> None:
    notices: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        evaluate_run(run.path, judge=judge(stop_at=1), limits=[24, 3], notice=notices.append)
    assert notices == [
        f"{run.path}: mine/words:own judges 6 checkpoints, one by one: 64 questions; and 2 checkpoints whose "
        "completions are not written yet"
    ]


def test_without_references_there_must_be_another_run(run: Run, tmp_path: Path, judge: Callable[..., Any]) -> None:
    file = tmp_path / "task.py"
    file.write_text(BARE)
    text = (run.path / "config.yaml").read_text()
    (run.path / "config.yaml").write_text(text.replace("name: miniature", f"name: {file}:Bare"))
    with pytest.raises(UserError, match="its prompts have no references; name a run to compare with by --against"):
        evaluate_run(run.path, judge=judge())
    rows = evaluate_run(run.path, judge=judge(), against=run.path)
    assert rows[-1]["win_rate"] == 0.5


def test_another_split(run: Run) -> None:
    rows = evaluate_run(run.path, split="test")
    assert {row["split"] for row in rows} == {"test"}
    assert rows[0]["prompt_set"] != run.evaluations()[0]["prompt_set"]
    assert rows[0]["win_difference"] == 0
    own = {row["step"]: row for row in run.evaluations()}
    for row in rows:  # the loop measures the same of its policies
        assert row.keys() >= own[row["step"]].keys()


def test_an_sft_run_has_no_step_0(chain: Chain, tmp_path: Path) -> None:
    notices: list[str] = []
    path = shutil.copytree(chain.policy, tmp_path / "sft")
    (row,) = evaluate_run(path, notice=notices.append)
    assert row["step"] == 60
    assert "kl_ref" not in row
    assert notices == [
        f"{path}: there are no completions of step 0, and no policy that it started from; "
        "win rates are compared with step 60"
    ]


@pytest.mark.parametrize("style", ["raw", "chat_template"])
def test_a_foreign_reward_model_s_proxy_is_what_transformers_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], style: str
) -> None:
    foreign.save_policy(tmp_path / "policy", foreign.policys())
    foreign.save_reward_model(tmp_path / "reward", foreign.reward_models())
    pairs = foreign.write_pairs(tmp_path / "pairs.jsonl")
    task = {"name": "local", "path": str(pairs), "prompt_style": style, "holdout": 0.4}
    chain = Chain(tmp_path / "policy", tmp_path / "reward")
    changes = {"missing_eos": "keep", "max_completion_tokens": 6, "total_episodes": 8}
    run = train(tiny.online(chain, task=task, **changes), tmp_path / "run")
    said = capsys.readouterr().err
    assert f"{chain.reward_model} has a tokenizer of its own" in said and str(chain.policy) not in said
    plain = foreign.Plain.load(chain.reward_model)
    ask = plain.raw if style == "raw" else plain.chat
    own = [sample for step in (0, 1) for sample in run.samples(step)]
    evaluate_run(run.path, judge="reward_model")
    later = [sample for step in (0, 1) for sample in run.samples(step) if sample["judge"] == "reward_model"]
    assert len(own) == len(later) >= 16
    for sample in own + later:
        expected = ask(sample["prompt"], sample["completion"], sample["ended"])
        assert sample["proxy"] == pytest.approx(expected, abs=1e-5)
    for sample in later:
        better = sample["proxy"] - ask(sample["prompt"], sample["reference"], True)
        assert sample["outcome"] == (1.0 if better > 0 else 0.0)


def test_a_run_at_work_is_left_alone(run: Run) -> None:
    with RunLock(run.path) as lock:
        lock.acquire()
        with pytest.raises(UserError, match="another process is at work here"):
            evaluate_run(run.path)


def test_what_cannot_be_evaluated_is_said(chain: Chain, run: Run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a reward model writes no completions; evaluate a policy's run"):
        evaluate_run(chain.reward_model)
    with pytest.raises(UserError, match="reward model"):
        evaluate_run(chain.policy, judge="reward_model")
    with pytest.raises(UserError, match="a reward model writes no completions; compare with a policy's run"):
        evaluate_run(run.path, against=chain.reward_model)
    with pytest.raises(UserError, match="not a run directory"):
        evaluate_run(tmp_path)
    shutil.rmtree(run.path / "checkpoints")
    with pytest.raises(UserError, match="has kept no checkpoint to evaluate"):
        evaluate_run(run.path, split="test")
