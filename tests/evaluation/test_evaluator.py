"""Five prompts, a gold reward that the test sets by hand, and a policy with random weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
import tiny
import torch

from overopt.engine.head import logps_of_trees
from overopt.engine.packing import Tree
from overopt.evaluation.evaluator import Evaluator
from overopt.models.reward_model import RewardModel
from overopt.models.scorer import Scorer
from overopt.models.text import Codec
from overopt.types import Completion, PromptRecord

RECORDS = [PromptRecord(f"p{i}", "SUBREDDIT: r/advice POST:", f"mom sold my {w}") for i, w in enumerate(["car", "dog"])]
RECORDS += [
    PromptRecord("p2", "POST: my mom", "dad"),
    PromptRecord("p3", "POST:", "tv"),
    PromptRecord("p4", "so", "tv"),
]


@dataclass
class FakeTask:
    """References score 0; the policy's completion of p0, p1, ... scores what the list says."""

    ours: list[float | None] = field(default_factory=lambda: [1.0, -1.0, 0.0, None, 2.0])
    prompt_style: str = "raw"

    def gold(self, record: PromptRecord, completion: Completion) -> float | None:
        return 0.0 if completion.text == record.reference else self.ours[int(record.prompt_id[1:])]


def evaluator(task: FakeTask, **changes: Any) -> Evaluator:
    policy = tiny.policy()
    settings: dict[str, Any] = {
        "task": task,
        "codec": Codec(policy.tokenizer, "raw"),
        "split": "tuning",
        "records": RECORDS,
        "seed": 0,
        "max_completion_tokens": 6,
        "temperature": 0.7,
        "token_budget": 1000,
    }
    return Evaluator(**settings | changes)


def test_win_rate_and_paired_difference_by_hand() -> None:
    task = FakeTask()
    judge = evaluator(task)
    first, _ = judge.evaluate(tiny.policy(), 0)
    assert (first["n"], first["wins"], first["ties"], first["invalid"]) == (4, 2, 1, 1)
    assert first["win_rate"] == (1 + 0 + 0.5 + 1) / 4
    assert first["win_rate_low"] < 0.625 < first["win_rate_high"]
    assert (first["win_difference"], first["win_difference_se"]) == (0, 0)
    task.ours = [1.0, 0.5, -1.0, None, 2.0]  # p1 is won now, p2 lost: differences 0, 1, -1/2, 0
    second, _ = judge.evaluate(tiny.policy(), 10)
    assert second["win_rate"] == 0.75
    assert second["win_difference"] == 0.125
    assert second["win_difference_se"] == pytest.approx(((1.25 / 4 - 0.125**2) / 4) ** 0.5)
    assert (first["step"], second["step"]) == (0, 10)
    assert first["prompt_set"] == second["prompt_set"]
    assert first["gold_mean"] is None  # one prompt has none


def test_samples_tell_what_the_row_is_made_of() -> None:
    policy = tiny.policy()
    reward_model = RewardModel.from_policy(policy, torch.Generator().manual_seed(0))
    row, samples = evaluator(FakeTask(), scorer=Scorer(reward_model, Codec(policy.tokenizer, "raw"))).evaluate(
        policy, 3
    )
    assert [s["outcome"] for s in samples] == [1.0, 0.0, 0.5, None, 1.0]
    assert [s["prompt_id"] for s in samples] == ["p0", "p1", "p2", "p3", "p4"]
    assert [s["reference_gold"] for s in samples] == [0.0] * 5
    assert row["proxy_mean"] == pytest.approx(sum(s["proxy"] for s in samples) / 5)
    assert row["len_mean"] == sum(s["length"] for s in samples) / 5
    assert row["eos_rate"] == sum(s["ended"] for s in samples) / 5
    codec = Codec(policy.tokenizer, "raw")
    for record, sample in zip(RECORDS, samples, strict=True):
        completion = codec.completion(Completion(sample["completion"], sample["ended"]))
        tree = Tree(codec.prompt(record), [completion])
        logp = logps_of_trees(policy, [tree], 1.0, 100).logp_BT.sum()
        assert sample["logp"] == pytest.approx(float(logp), abs=1e-4)
        assert sample["proxy"] == pytest.approx(float(reward_model.score_trees([tree], 100)), abs=1e-5)


def test_completions_are_greedy() -> None:
    policy = tiny.policy()
    _, samples = evaluator(FakeTask()).evaluate(policy, 0)
    ids = policy.tokenizer.encode(RECORDS[0].prompt, add_special_tokens=False)
    written: list[int] = []
    with torch.no_grad():
        for _ in range(samples[0]["length"]):
            written.append(int(policy.model(torch.tensor([ids + written])).logits[0, -1].argmax()))
    ended = written[-1] == policy.eos_id
    assert samples[0]["ended"] == ended
    assert samples[0]["completion"].split() == policy.tokenizer.convert_ids_to_tokens(written[: len(written) - ended])


def test_the_reward_model_can_judge() -> None:
    policy = tiny.policy()
    reward_model = RewardModel.from_policy(policy, torch.Generator().manual_seed(0))
    records = [*RECORDS, PromptRecord("p5", "so my dog", None)]
    judge = evaluator(
        FakeTask([None] * 6),
        scorer=Scorer(reward_model, Codec(policy.tokenizer, "raw")),
        judge="reward_model",
        records=records,
    )
    row, samples = judge.evaluate(policy, 0)
    codec = Codec(policy.tokenizer, "raw")
    for record, sample in zip(RECORDS, samples, strict=False):
        assert record.reference is not None
        tree = Tree(codec.prompt(record), [codec.completion(Completion(record.reference))])
        reference = float(reward_model.score_trees([tree], 100))
        assert sample["outcome"] == (1.0 if sample["proxy"] > reference else 0.0)
    assert samples[5]["outcome"] is None
    assert (row["n"], row["invalid"], row["judge"]) == (5, 1, "reward_model")


def test_without_any_verdict_there_is_no_win_rate() -> None:
    row, _ = evaluator(FakeTask([None] * 5)).evaluate(tiny.policy(), 0)
    assert row["n"] == 0
    assert "win_rate" not in row


def test_distance_to_the_reference() -> None:
    policy = tiny.policy()
    judge = evaluator(FakeTask(), reference=policy.frozen_copy())
    assert judge.evaluate(policy, 0)[0]["kl_ref"] == pytest.approx(0, abs=1e-5)
    with torch.no_grad():
        policy.head.weight.mul_(3.0)
    far = judge.evaluate(policy, 1)[0]["kl_ref"]
    assert far > 0.1
    assert judge.evaluate(policy, 1)[0]["kl_ref"] == far  # the same draws
    assert "kl_ref" not in evaluator(FakeTask()).evaluate(policy, 0)[0]


def test_likelihood_of_the_references() -> None:
    policy = tiny.policy()
    row, _ = evaluator(FakeTask()).evaluate(policy, 0)
    codec = Codec(policy.tokenizer, "raw")
    sums, means = [], []
    for record in RECORDS:
        assert record.reference is not None
        tree = Tree(codec.prompt(record), [codec.completion(Completion(record.reference))])
        logp = logps_of_trees(policy, [tree], 1.0, 100).logp_BT[0]
        sums.append(float(logp.sum()))
        means.append(float(logp.sum()) / len(tree.completions[0]))
    assert row["ref_summary_logp_sum"] == pytest.approx(sum(sums) / 5, abs=1e-4)
    assert row["ref_summary_logp_mean"] == pytest.approx(sum(means) / 5, abs=1e-4)


def test_the_prompt_set_names_prompts_and_references() -> None:
    other = [*RECORDS[:4], PromptRecord("p4", "so", "dog")]
    assert evaluator(FakeTask()).prompt_set != evaluator(FakeTask(), records=other).prompt_set
