"""The pieces of an update's experience, on the chain's models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import foreign
import pytest
import tiny
import torch
from tiny import Chain

from overopt.config import load
from overopt.engine.head import logps_of_trees
from overopt.engine.packing import Tree
from overopt.engine.sampler import DrawKey, sample
from overopt.models.load import load_policy, load_reward_model
from overopt.models.scorer import Scorer
from overopt.models.text import Codec
from overopt.records import load_run
from overopt.training.data import Limits, Prompt, encode_prompts
from overopt.training.rollout import RolloutWorker
from overopt.training.stages.online import Online, rollout_worker
from overopt.types import Completion, Dropped, PromptRecord

BUDGET = 65_536


@dataclass
class Setting:
    """A configuration with its models and four prompts."""

    config: Online
    worker: RolloutWorker
    prompts: Sequence[Prompt]


def setting(chain: Chain, **changes: Any) -> Setting:
    config = load({"online": Online}, tiny.online(chain, **changes))
    device = torch.device("cpu")
    policy = load_policy(load_run(chain.policy).checkpoint(), device)
    codec = Codec(policy.tokenizer, config.task.prompt_style)
    scorer = None
    if config.reward_model is not None:
        scorer = Scorer(load_reward_model(load_run(chain.reward_model).checkpoint(), device), codec)
    prompts = encode_prompts(codec, config.task.prompts(0, Dropped()), Limits(512, 24), Dropped())
    return Setting(config, rollout_worker(config, policy, policy.frozen_copy(), scorer, codec), prompts[:4])


@pytest.fixture(scope="module")
def plain(chain: Chain) -> Setting:
    return setting(chain)


def test_collected_rollouts_carry_everything_that_objectives_ask_for(plain: Setting) -> None:
    experience = plain.worker.collect(plain.prompts, 2, BUDGET)
    rollouts = experience.rollouts
    assert rollouts.mask_BT.shape[0] == 8 and rollouts.group_size == 2
    assert rollouts.max_len == 24 and rollouts.progress == pytest.approx(1 / 3)
    assert torch.equal(rollouts.length_B, torch.tensor([len(c) for t in experience.trees for c in t.completions]))
    assert rollouts.entropy_BT is not None and rollouts.token_entropy > 0
    forward = logps_of_trees(plain.worker.policy, experience.trees, 0.7, 10_000).logp_BT
    torch.testing.assert_close(rollouts.logp_BT, forward, rtol=0, atol=1e-4)
    torch.testing.assert_close(rollouts.ref_logp_BT, forward, rtol=0, atol=1e-5)  # the reference is the policy still
    assert rollouts.logp_at is not None
    torch.testing.assert_close(rollouts.logp_at(0.7), forward, rtol=0, atol=1e-5)
    warm = logps_of_trees(plain.worker.policy, experience.trees, 1.0, 10_000).logp_BT
    torch.testing.assert_close(rollouts.logp_at(1.0), warm, rtol=0, atol=1e-5)
    assert float((warm - forward).abs().max()) > 1e-2
    assert plain.worker.sampler_gap(plain.prompts[0], BUDGET) < 1e-4


def test_without_a_reward_model_nothing_is_scored_and_no_end_is_fined(chain: Chain) -> None:
    here = setting(chain, reward_model=None, missing_eos={"name": "subtract", "penalty": 3.0})
    assert here.worker.collect(here.prompts, 1, BUDGET).rollouts.score_B.tolist() == [0.0] * 8


def test_a_foreign_reward_model_scores_rollouts_as_transformers_says(chain: Chain, tmp_path: Path) -> None:
    foreign.save_reward_model(tmp_path, foreign.reward_models())
    here = setting(chain, missing_eos="keep")
    scorer = Scorer(load_reward_model(tmp_path, torch.device("cpu")), here.worker.codec)
    experience = replace(here.worker, scorer=scorer).collect(here.prompts, 1, BUDGET)
    plain, rows = foreign.Plain.load(tmp_path), [c for tree in experience.trees for c in tree.completions]
    words = here.worker.policy.tokenizer
    expected = []
    for i, row in enumerate(rows):
        ended = row[-1] == words.eos_token_id
        expected.append(plain.raw(here.prompts[i // 2].record.prompt, words.decode(row[: len(row) - ended]), ended))
    torch.testing.assert_close(experience.rollouts.score_B, torch.tensor(expected), atol=1e-5, rtol=0)


def test_greedy_completions_are_the_same_at_every_step_and_seed_but_measured_at_the_temperature(chain: Chain) -> None:
    here, other = setting(chain), setting(chain, seed=1)
    first, second = (
        here.worker.greedy(here.prompts, 1, BUDGET),
        other.worker.greedy(here.prompts, 3, BUDGET),
    )
    assert first.group_size == 1 and len(first.score_B) == 4
    assert torch.equal(first.logp_BT, second.logp_BT) and torch.equal(first.score_B, second.score_B)
    drawn = here.worker.collect(here.prompts, 1, BUDGET).rollouts
    assert float(first.sequence_logp_B.sum() / first.length_B.sum()) > float(
        drawn.sequence_logp_B.sum() / drawn.length_B.sum()
    )
    sharper = setting(chain, temperature=0.35)
    again = sharper.worker.greedy(here.prompts, 1, BUDGET)
    assert torch.equal(again.mask_BT, first.mask_BT)
    assert float(again.logp_BT.sum()) > float(first.logp_BT.sum())  # the same tokens under a sharper policy


def in_bf16(chain: Chain) -> Setting:
    """Decoding and the training forward round differently here, so that one can be told from the other."""
    here = setting(chain)
    policy = load_policy(load_run(chain.policy).checkpoint(), torch.device("cpu"), True)
    return Setting(here.config, replace(here.worker, policy=policy, scorer=None), here.prompts)


def test_where_the_sampler_is_inexact_the_training_forward_says_the_old_log_probabilities(chain: Chain) -> None:
    here = in_bf16(chain)
    captured = here.worker.collect(here.prompts, 1, BUDGET)
    assert torch.equal(captured.rollouts.logp_BT, captured.samples.logp_BT)
    again = replace(here.worker, sampler_is_exact=False).collect(here.prompts, 1, BUDGET)
    assert again.samples.completions() == captured.samples.completions()
    forward = logps_of_trees(here.worker.policy, again.trees, 0.7, BUDGET).logp_BT
    assert torch.equal(again.rollouts.logp_BT, forward)
    assert not torch.equal(forward, captured.samples.logp_BT)


def test_the_sampler_s_gap_is_the_largest_of_any_token(chain: Chain) -> None:
    here = in_bf16(chain)
    prompt, key = here.prompts[0], DrawKey(0, "sampler gap", 0)
    drawn = sample(here.worker.policy, [prompt.tokens], [prompt.record.prompt_id], 2, 0.7, 24, key)
    forward = logps_of_trees(here.worker.policy, [Tree(prompt.tokens, drawn.completions())], 0.7, 10_000).logp_BT
    gaps = [abs(a - b) for a, b in zip(drawn.logp_BT.flatten().tolist(), forward.flatten().tolist(), strict=True)]
    assert max(gaps) > 2 * sum(gaps) / len(gaps) > 0
    assert here.worker.sampler_gap(prompt, BUDGET) == pytest.approx(max(gaps), rel=1e-5)


def test_the_reference_of_the_rollouts_is_the_reference(chain: Chain) -> None:
    here = setting(chain)
    with torch.no_grad():
        here.worker.reference.head.weight.mul_(0.8)
    experience = here.worker.collect(here.prompts, 1, BUDGET)
    expected = logps_of_trees(here.worker.reference, experience.trees, 0.7, 10_000).logp_BT
    torch.testing.assert_close(experience.rollouts.ref_logp_BT, expected, rtol=0, atol=1e-5)
    assert float((expected - experience.rollouts.logp_BT).abs().max()) > 1e-2


class GoldOfSome:
    """A task that knows the gold of completions of some prompts: their lengths in words."""

    def __init__(self, known: set[str]) -> None:
        self.known = known

    def gold(self, record: PromptRecord, completion: Completion) -> float | None:
        return float(len(completion.text.split())) if record.prompt_id in self.known else None


def test_gold_is_absent_where_it_is_not_known_of_every_completion(plain: Setting) -> None:
    """Never 0 for those that have none, nor a mean over the others."""
    every = [prompt.record.prompt_id for prompt in plain.prompts]
    some, whole = (replace(plain.worker, task=GoldOfSome(set(ids))) for ids in (every[1:], every))  # type: ignore[arg-type]
    assert some.collect(plain.prompts, 1, BUDGET).rollouts.gold_B is None
    experience = whole.collect(plain.prompts, 1, BUDGET)
    words = [len(plain.worker.codec.decode(row).text.split()) for row in experience.samples.completions()]
    assert experience.rollouts.gold_B is not None
    assert experience.rollouts.gold_B.tolist() == words and max(words) > 0
