"""Five prompts, a gold reward that the test sets by hand, and a policy with random weights."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import tiny
import torch
from tiny_models import plain_logps

from overopt.engine import sampler
from overopt.engine.head import logps_of_trees
from overopt.engine.packing import Tree
from overopt.evaluation import evaluator as evaluator_module
from overopt.evaluation.evaluator import Evaluator
from overopt.models.load import Scratch
from overopt.models.reward_model import RewardModel
from overopt.models.scorer import Scorer
from overopt.models.text import Codec
from overopt.tasks import Miniature
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
    }
    return Evaluator(**settings | changes)


def test_win_rate_and_paired_difference_by_hand() -> None:
    task = FakeTask()
    judge = evaluator(task)
    first, _ = judge.evaluate(tiny.policy(), 0, 1000)
    assert (first["n"], first["wins"], first["ties"], first["invalid"]) == (4, 2, 1, 1)
    assert first["win_rate"] == (1 + 0 + 0.5 + 1) / 4
    assert first["win_rate_low"] < 0.625 < first["win_rate_high"]
    assert (first["win_difference"], first["win_difference_se"]) == (0, 0)
    task.ours = [1.0, 0.5, -1.0, None, 2.0]  # p1 is won now, p2 lost: differences 0, 1, -1/2, 0
    second, _ = judge.evaluate(tiny.policy(), 10, 1000)
    assert second["win_rate"] == 0.75
    assert second["win_difference"] == 0.125
    assert second["win_difference_se"] == pytest.approx(((1.25 / 4 - 0.125**2) / 4) ** 0.5)
    assert (first["step"], second["step"]) == (0, 10)
    assert first["prompt_set"] == second["prompt_set"]
    assert first["gold_mean"] is None  # one prompt has none


def test_samples_tell_what_the_row_is_made_of() -> None:
    policy = tiny.policy()
    reward_model = RewardModel.from_policy(policy, torch.Generator().manual_seed(0))
    scorer = Scorer(reward_model, Codec(policy.tokenizer, "raw"))
    row, samples = evaluator(FakeTask(), scorer=scorer).evaluate(policy, 3, 1000)
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
    _, samples = evaluator(FakeTask()).evaluate(policy, 0, 1000)
    ids = policy.tokenizer.encode(RECORDS[0].prompt, add_special_tokens=False)
    written: list[int] = []
    with torch.no_grad():
        for _ in range(samples[0]["length"]):
            written.append(int(policy.model(torch.tensor([ids + written])).logits[0, -1].argmax()))
    ended = written[-1] in policy.end_ids
    assert samples[0]["ended"] == ended
    assert samples[0]["completion"].split() == policy.tokenizer.convert_ids_to_tokens(written[: len(written) - ended])


def test_without_any_verdict_there_is_no_win_rate() -> None:
    row, _ = evaluator(FakeTask([None] * 5)).evaluate(tiny.policy(), 0, 1000)
    assert row["n"] == 0
    assert "win_rate" not in row


def test_distance_to_the_reference() -> None:
    policy = tiny.policy()
    judge = evaluator(FakeTask(), reference=policy.frozen_copy())
    assert judge.evaluate(policy, 0, 1000)[0]["kl_ref"] == pytest.approx(0, abs=1e-5)
    with torch.no_grad():
        policy.head.weight.mul_(3.0)
    far = judge.evaluate(policy, 1, 1000)[0]["kl_ref"]
    assert far > 0.1
    assert judge.evaluate(policy, 1, 1000)[0]["kl_ref"] == far  # the same draws
    assert "kl_ref" not in evaluator(FakeTask()).evaluate(policy, 0, 1000)[0]


def test_likelihood_of_the_references() -> None:
    policy = tiny.policy()
    row, _ = evaluator(FakeTask()).evaluate(policy, 0, 1000)
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


def test_the_distance_on_a_prompt_does_not_depend_on_the_other_prompts() -> None:
    """The mean over five prompts is that of two and of three, each set with an evaluator of its own."""
    policy = tiny.policy()
    reference = policy.frozen_copy()
    with torch.no_grad():
        policy.head.weight.mul_(3.0)

    def distance(records: list[PromptRecord]) -> float:
        kl: float = evaluator(FakeTask(), reference=reference, records=records).evaluate(policy, 0, 1000)[0]["kl_ref"]
        return kl

    two, three = distance(RECORDS[:2]), distance(RECORDS[2:])
    assert abs(two - three) > 0.1
    assert distance(RECORDS) == pytest.approx((2 * two + 3 * three) / 5, rel=1e-4)


def test_the_distance_is_a_sum_over_tokens_on_draws_of_the_evaluation_s_seed() -> None:
    """One sample a prompt at the temperature; both policies' log-probabilities by plain forwards of each."""
    policy = tiny.policy()
    reference = policy.frozen_copy()
    with torch.no_grad():
        policy.head.weight.mul_(3.0)
    judge = evaluator(FakeTask(), reference=reference, seed=5)
    key = sampler.DrawKey(5, "evaluation", 0)
    drawn = sampler.sample(policy, judge.prompts, [r.prompt_id for r in RECORDS], 1, 0.7, 6, key).completions()
    assert len({len(row) for row in drawn}) > 1 or len(drawn[0]) > 1
    differences = [
        sum(plain_logps(policy, prompt, row, 0.7)) - sum(plain_logps(reference, prompt, row, 0.7))
        for prompt, row in zip(judge.prompts, drawn, strict=True)
    ]
    assert judge.evaluate(policy, 0, 1000)[0]["kl_ref"] == pytest.approx(sum(differences) / 5, rel=1e-4)
    assert evaluator(FakeTask(), reference=reference).evaluate(policy, 0, 1000)[0]["kl_ref"] != pytest.approx(
        sum(differences) / 5, rel=1e-2
    )


def test_the_interval_is_wilson_s_over_the_judged_prompts() -> None:
    """2.5 wins of 4: centre (p + z^2/2n) / (1 + z^2/n), half width z sqrt(p(1-p)/n + z^2/4n^2) / (1 + z^2/n)."""
    row, _ = evaluator(FakeTask()).evaluate(tiny.policy(), 0, 1000)
    p, n, z = 2.5 / 4, 4, 1.96
    centre, scale = p + z**2 / (2 * n), 1 + z**2 / n
    half = z * (p * (1 - p) / n + z**2 / (4 * n**2)) ** 0.5
    assert row["win_rate_low"] == pytest.approx((centre - half) / scale, abs=1e-6)
    assert row["win_rate_high"] == pytest.approx((centre + half) / scale, abs=1e-6)


def test_a_prompt_is_paired_only_if_it_was_judged_both_times() -> None:
    """p3 has no verdict at first and is won later, p4 the other way round: of the others none changed."""
    task = FakeTask([1.0, -1.0, 0.0, None, 2.0])
    judge = evaluator(task)
    judge.evaluate(tiny.policy(), 0, 1000)
    task.ours = [1.0, -1.0, 0.0, 5.0, None]
    row, _ = judge.evaluate(tiny.policy(), 1, 1000)
    assert (row["n"], row["wins"], row["win_rate"]) == (4, 2, 2.5 / 4)
    assert (row["win_difference"], row["win_difference_se"]) == (0, 0)


def test_without_a_judge_only_the_completions_are_measured() -> None:
    row, samples = evaluator(FakeTask(), judge="none").evaluate(tiny.policy(), 0, 1000)
    assert [s["reference_gold"] for s in samples] == [s["outcome"] for s in samples] == [None] * 5
    assert [s["gold"] for s in samples] == [1.0, -1.0, 0.0, None, 2.0]
    assert (row["n"], row["judge"], "win_rate" in row) == (0, "none", False)


def test_a_prompt_without_a_reference_has_no_verdict() -> None:
    records = [*RECORDS, PromptRecord("p5", "so my dog", None)]
    row, samples = evaluator(FakeTask([1.0] * 6), records=records).evaluate(tiny.policy(), 0, 1000)
    assert samples[5]["outcome"] is None and samples[5]["gold"] == 1.0
    assert (row["n"], row["invalid"]) == (5, 1)


def test_the_likelihood_is_of_the_first_references(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many references the first few are followed, so that an evaluation's cost has a bound."""
    policy = tiny.policy()
    two, _ = evaluator(FakeTask(), records=RECORDS[:2]).evaluate(policy, 0, 1000)
    monkeypatch.setattr(evaluator_module, "REFERENCE_SUMMARIES", 2)
    found, _ = evaluator(FakeTask()).evaluate(policy, 0, 1000)
    for name in ("ref_summary_logp_sum", "ref_summary_logp_mean"):
        assert found[name] == pytest.approx(two[name], rel=1e-5)


@pytest.mark.parametrize("record", [PromptRecord("p4", "so my", "tv"), PromptRecord("p5", "so", "tv")], ids=str)
def test_another_prompt_or_name_is_another_prompt_set(record: PromptRecord) -> None:
    assert evaluator(FakeTask(), records=[*RECORDS[:4], record]).prompt_set != evaluator(FakeTask()).prompt_set


@pytest.mark.parametrize(("bf16", "distance"), [(True, 0.0), (False, 1.0)])
def test_in_bf16_like_is_compared_with_like(bf16: bool, distance: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy's distance from itself is 0 by one forward for both, however decoding rounds: here by a nat a row."""

    def rounding(*arguments: Any, **named: Any) -> sampler.Samples:
        drawn = sampler.sample_in_batches(*arguments, **named)
        return replace(drawn, logp_BT=drawn.logp_BT + drawn.mask_BT / drawn.mask_BT.sum(1, keepdim=True))

    monkeypatch.setattr(evaluator_module, "sample_in_batches", rounding)
    settings = Scratch(architecture="gpt_neox", hidden_size=16, layers=2, heads=2, init_std=0.3)
    policy = settings.build(Miniature().vocabulary(), 0, torch.device("cpu"), bf16)
    judge = evaluator(FakeTask(), reference=policy.frozen_copy())
    assert judge.evaluate(policy, 0, 1000)[0]["kl_ref"] == pytest.approx(distance, abs=1e-4)


def test_the_token_budget_is_that_of_each_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = tiny.policy()
    scorer = Scorer(RewardModel.from_policy(policy, torch.Generator().manual_seed(0)), Codec(policy.tokenizer, "raw"))
    judge = evaluator(FakeTask(), scorer=scorer, reference=policy.frozen_copy())
    seen: set[int] = set()
    for owner, name in [(evaluator_module, "sample_in_batches"), (evaluator_module, "logps_of_trees")]:
        real = getattr(owner, name)

        def spy(*arguments: Any, real: Any = real, **named: Any) -> Any:
            seen.add(named.get("token_budget", arguments[-1]))
            return real(*arguments, **named)

        monkeypatch.setattr(owner, name, spy)
    score = scorer.score
    monkeypatch.setattr(scorer, "score", lambda *arguments: (seen.add(arguments[-1]), score(*arguments))[1])
    for budget in (1000, 77):
        seen.clear()
        judge.evaluate(policy, 0, budget)
        assert seen == {budget}


def test_an_evaluation_that_was_cut_off_leaves_no_baseline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory runs out while the references are read, after the completions were judged."""
    judge = evaluator(FakeTask())
    monkeypatch.setattr(judge, "_reference_logp", lambda *arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        judge.evaluate(tiny.policy(), 0, 1000)
    assert judge.baseline_outcomes is None
