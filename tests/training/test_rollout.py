"""The pieces of an update's experience, on the chain's models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
from overopt.training.rollout import Actors, Coefficients, bonus, collect, greedy, sampler_gap, shaped
from overopt.training.stages.online import Online
from overopt.types import Completion, Dropped, PromptRecord


@dataclass
class Setting:
    """A configuration with its models and four prompts."""

    config: Online
    actors: Actors
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
    return Setting(config, Actors(policy, policy.frozen_copy(), scorer, codec), prompts[:4])


@pytest.fixture(scope="module")
def plain(chain: Chain) -> Setting:
    return setting(chain)


def test_collected_rollouts_carry_everything_that_objectives_ask_for(plain: Setting) -> None:
    experience = collect(plain.config, plain.actors, plain.prompts, step=2)
    rollouts = experience.rollouts
    assert rollouts.mask_BT.shape[0] == 8 and rollouts.group_size == 2
    assert rollouts.max_len == 24 and rollouts.progress == pytest.approx(1 / 3)
    assert torch.equal(rollouts.length_B, torch.tensor([len(c) for t in experience.trees for c in t.completions]))
    assert rollouts.entropy_BT is not None and rollouts.token_entropy > 0
    forward = logps_of_trees(plain.actors.policy, experience.trees, 0.7, 10_000).logp_BT
    torch.testing.assert_close(rollouts.logp_BT, forward, rtol=0, atol=1e-4)
    torch.testing.assert_close(rollouts.ref_logp_BT, forward, rtol=0, atol=1e-5)  # the reference is the policy still
    assert sampler_gap(plain.config, plain.actors, plain.prompts[0]) < 1e-4


def test_without_a_reward_model_nothing_is_scored_and_no_end_is_fined(chain: Chain) -> None:
    here = setting(chain, reward_model=None, missing_eos={"name": "subtract", "penalty": 3.0})
    assert collect(here.config, here.actors, here.prompts, 1).rollouts.score_B.tolist() == [0.0] * 8


def test_a_foreign_reward_model_scores_rollouts_as_transformers_says(chain: Chain, tmp_path: Path) -> None:
    foreign.save_reward_model(tmp_path, foreign.reward_models())
    here = setting(chain, missing_eos="keep")
    here.actors.scorer = Scorer(load_reward_model(tmp_path, torch.device("cpu")), here.actors.codec)
    experience = collect(here.config, here.actors, here.prompts, 1)
    plain, rows = foreign.Plain.load(tmp_path), [c for tree in experience.trees for c in tree.completions]
    words = here.actors.policy.tokenizer
    expected = []
    for i, row in enumerate(rows):
        ended = row[-1] == words.eos_token_id
        expected.append(plain.raw(here.prompts[i // 2].record.prompt, words.decode(row[: len(row) - ended]), ended))
    torch.testing.assert_close(experience.rollouts.score_B, torch.tensor(expected), atol=1e-5, rtol=0)


def test_greedy_completions_are_the_same_at_every_step_and_seed_but_measured_at_the_temperature(chain: Chain) -> None:
    here, other = setting(chain), setting(chain, seed=1)
    first, second = (
        greedy(here.config, here.actors, here.prompts, 1),
        greedy(other.config, other.actors, here.prompts, 3),
    )
    assert first.group_size == 1 and len(first.score_B) == 4
    assert torch.equal(first.logp_BT, second.logp_BT) and torch.equal(first.score_B, second.score_B)
    drawn = collect(here.config, here.actors, here.prompts, 1).rollouts
    assert float(first.sequence_logp_B.sum() / first.length_B.sum()) > float(
        drawn.sequence_logp_B.sum() / drawn.length_B.sum()
    )
    sharper = setting(chain, temperature=0.35)
    again = greedy(sharper.config, sharper.actors, here.prompts, 1)
    assert torch.equal(again.mask_BT, first.mask_BT)
    assert float(again.logp_BT.sum()) > float(first.logp_BT.sum())  # the same tokens under a sharper policy


def test_the_bonus_is_the_sum_of_all_regularizers(chain: Chain) -> None:
    here = setting(chain, regularizers=["entropy_sum", "entropy_length_normalized"])
    rollouts = collect(here.config, here.actors, here.prompts, 1).rollouts
    expected_B = -0.5 * rollouts.sequence_logp_B + 2.0 * rollouts.sequence_logp_B / rollouts.length_B
    torch.testing.assert_close(bonus(here.config, rollouts, [0.5, -2.0]), expected_B)
    assert bonus(setting(chain, regularizers=[]).config, rollouts, []).tolist() == [0.0] * 8


def test_rewards_are_grouped_and_greedy_ones_are_shaped_alike(chain: Chain) -> None:
    here = setting(chain, regularizers=["entropy_sum"], advantage="remax")
    experience = collect(here.config, here.actors, here.prompts, 1)
    rollouts = experience.rollouts
    rewards = shaped(here.config, here.actors, experience, bonus(here.config, rollouts, [0.5]), [0.5], 1)
    assert rewards.reward_PG.shape == rewards.length_PG.shape == (4, 2)
    expected_B = rollouts.score_B - 0.5 * rollouts.sequence_logp_B
    torch.testing.assert_close(rewards.reward_PG.flatten(), expected_B)
    baseline = greedy(here.config, here.actors, here.prompts, 1)
    torch.testing.assert_close(rewards.greedy_P, baseline.score_B - 0.5 * baseline.sequence_logp_B)


def test_only_an_advantage_that_needs_them_gets_greedy_rewards(plain: Setting) -> None:
    experience = collect(plain.config, plain.actors, plain.prompts, 1)
    assert shaped(plain.config, plain.actors, experience, torch.zeros(8), [0.05], 1).greedy_P is None


def test_coefficients_move_by_themselves_and_those_that_do_are_recorded(chain: Chain) -> None:
    here = setting(
        chain,
        regularizers=[{"name": "kl", "coef": 0.3}, {"name": "entropy_sum", "coef": {"name": "linear", "initial": 0.6}}],
        loss_regularizers=[{"name": "k2", "coef": {"name": "adaptive_kl", "initial": 0.1, "target": 1.0}}],
    )
    coefs = Coefficients.initial(here.config)
    for step, line in [(1, 0.6), (2, 0.4)]:
        rollouts = collect(here.config, here.actors, here.prompts, step).rollouts
        coefs.move(here.config, rollouts)
        assert coefs.reward == pytest.approx([0.3, line])
        assert coefs.metrics(here.config).keys() == {"coef_1", "loss_coef_0"}
    assert coefs.loss == pytest.approx([0.1 * (1 - 0.2 * 8 / 10_000)])  # KL is far below its target


def in_bf16(chain: Chain) -> Setting:
    """Decoding and the training forward round differently here, so that one can be told from the other."""
    here = setting(chain)
    policy = load_policy(load_run(chain.policy).checkpoint(), torch.device("cpu"), True)
    return Setting(here.config, Actors(policy, here.actors.reference, None, here.actors.codec), here.prompts)


def test_where_the_sampler_is_inexact_the_training_forward_says_the_old_log_probabilities(chain: Chain) -> None:
    here = in_bf16(chain)
    captured = collect(here.config, here.actors, here.prompts, 1)
    assert torch.equal(captured.rollouts.logp_BT, captured.samples.logp_BT)
    here.actors.sampler_is_exact = False
    again = collect(here.config, here.actors, here.prompts, 1)
    assert again.samples.completions() == captured.samples.completions()
    budget = here.config.compute.evaluation_budget
    forward = logps_of_trees(here.actors.policy, again.trees, 0.7, budget).logp_BT
    assert torch.equal(again.rollouts.logp_BT, forward)
    assert not torch.equal(forward, captured.samples.logp_BT)


def test_the_sampler_s_gap_is_the_largest_of_any_token(chain: Chain) -> None:
    here = in_bf16(chain)
    prompt, key = here.prompts[0], DrawKey(0, "sampler gap", 0)
    drawn = sample(here.actors.policy, [prompt.tokens], [prompt.record.prompt_id], 2, 0.7, 24, key)
    forward = logps_of_trees(here.actors.policy, [Tree(prompt.tokens, drawn.completions())], 0.7, 10_000).logp_BT
    gaps = [abs(a - b) for a, b in zip(drawn.logp_BT.flatten().tolist(), forward.flatten().tolist(), strict=True)]
    assert max(gaps) > 2 * sum(gaps) / len(gaps) > 0
    assert sampler_gap(here.config, here.actors, prompt) == pytest.approx(max(gaps), rel=1e-5)


def test_the_reference_of_the_rollouts_is_the_reference(chain: Chain) -> None:
    here = setting(chain)
    with torch.no_grad():
        here.actors.reference.head.weight.mul_(0.8)
    experience = collect(here.config, here.actors, here.prompts, 1)
    expected = logps_of_trees(here.actors.reference, experience.trees, 0.7, 10_000).logp_BT
    torch.testing.assert_close(experience.rollouts.ref_logp_BT, expected, rtol=0, atol=1e-5)
    assert float((expected - experience.rollouts.logp_BT).abs().max()) > 1e-2


class GoldOfSome:
    """A configuration whose task knows the gold of completions of some prompts: their lengths in words."""

    def __init__(self, config: Online, known: set[str]) -> None:
        self.config, self.known, self.task = config, known, self

    def __getattr__(self, name: str) -> Any:
        return getattr(self.config, name)

    def gold(self, record: PromptRecord, completion: Completion) -> float | None:
        return float(len(completion.text.split())) if record.prompt_id in self.known else None


def test_gold_is_absent_where_it_is_not_known_of_every_completion(plain: Setting) -> None:
    """Never 0 for those that have none, nor a mean over the others."""
    every = [prompt.record.prompt_id for prompt in plain.prompts]
    some: Any = GoldOfSome(plain.config, set(every[1:]))
    assert collect(some, plain.actors, plain.prompts, 1).rollouts.gold_B is None
    all_of_them: Any = GoldOfSome(plain.config, set(every))
    experience = collect(all_of_them, plain.actors, plain.prompts, 1)
    words = [len(plain.actors.codec.decode(row).text.split()) for row in experience.samples.completions()]
    assert experience.rollouts.gold_B is not None
    assert experience.rollouts.gold_B.tolist() == words and max(words) > 0
