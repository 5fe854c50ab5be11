"""One update's experience: completions sampled from the policy, scored, compared with the reference, shaped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from overopt.engine.head import logps_of_trees
from overopt.engine.packing import Tree
from overopt.engine.sampler import DrawKey, Samples, sample, sample_in_batches
from overopt.models.policy import Policy
from overopt.models.scorer import Scorer
from overopt.models.text import Codec
from overopt.objectives.controllers import current, moves
from overopt.objectives.state import State, initial_state
from overopt.training.data import Prompt
from overopt.training.rewards import add_rewards
from overopt.types import Completion, Rewards, Rollouts

if TYPE_CHECKING:
    from overopt.training.stages.online import Online

SAMPLER_GAP = 1e-3
"""Nats a token; above, old log-probabilities are computed again by the training forward."""


@dataclass
class Actors:
    """The models of an online run."""

    policy: Policy
    reference: Policy
    scorer: Scorer | None
    codec: Codec
    sampler_is_exact: bool = True
    """Whether log-probabilities captured while sampling serve as the old ones (bf16 decoding would fire the clip)."""


@dataclass
class Experience:
    """One update's rollouts, with the trees they are trained on."""

    prompts: Sequence[Prompt]
    trees: list[Tree]
    samples: Samples
    rollouts: Rollouts
    rewards: dict[str, float]
    """Means by name of what the score is the sum of, where functions of the user's are a part of it."""
    advantage_B: Tensor = field(default_factory=lambda: torch.empty(0))


def sampler_gap(config: Online, actors: Actors, prompt: Prompt) -> float:
    """Largest difference between log-probabilities of the sampler and of the training forward, on one prompt."""
    samples = sample(
        actors.policy,
        [prompt.tokens],
        [prompt.record.prompt_id],
        group_size=2,
        temperature=config.temperature,
        max_tokens=config.max_completion_tokens,
        key=DrawKey(config.seed, "sampler gap", 0),
    )
    trees = [Tree(prompt.tokens, samples.completions())]
    forward = logps_of_trees(actors.policy, trees, config.temperature, config.compute.evaluation_budget)
    return float((samples.logp_BT - forward.logp_BT).abs().max())


def collect(config: Online, actors: Actors, prompts: Sequence[Prompt], step: int) -> Experience:
    """Sample completions, score them by proxy and gold, and take their log-probabilities under the reference."""
    return _experience(config, actors, prompts, step, config.samples_per_prompt, config.temperature, "rollouts")


def greedy(config: Online, actors: Actors, prompts: Sequence[Prompt], step: int) -> Rollouts:
    """The greedy completion of each prompt, with everything that its shaped reward takes."""
    return _experience(config, actors, prompts, step, 1, 0.0, "greedy").rollouts


def _experience(
    config: Online,
    actors: Actors,
    prompts: Sequence[Prompt],
    step: int,
    group_size: int,
    temperature: float,
    purpose: str,
) -> Experience:
    budget, k = config.compute.evaluation_budget, group_size
    samples = sample_in_batches(
        actors.policy,
        [p.tokens for p in prompts],
        [p.record.prompt_id for p in prompts],
        group_size=k,
        temperature=temperature,
        max_tokens=config.max_completion_tokens,
        key=DrawKey(config.seed, purpose, step),
        token_budget=budget,
    )
    rows = samples.completions()
    trees = [Tree(p.tokens, rows[i * k : (i + 1) * k]) for i, p in enumerate(prompts)]
    logp_BT = samples.logp_BT
    if not actors.sampler_is_exact or temperature != config.temperature:
        logp_BT = logps_of_trees(actors.policy, trees, config.temperature, budget).logp_BT
    records = [prompts[i // k].record for i in range(len(rows))]
    completions = [actors.codec.decode(row, record) for row, record in zip(rows, records, strict=True)]
    gold = [config.task.gold(record, completion) for record, completion in zip(records, completions, strict=True)]
    score_B = _score(config, actors, prompts, completions, trees, samples.ended_B)
    score_B, rewards = add_rewards(config.rewards, score_B, records, completions, actors.scorer is not None)
    rollouts = Rollouts(
        logp_BT=logp_BT,
        mask_BT=samples.mask_BT,
        score_B=score_B,
        group_size=k,
        temperature=config.temperature,
        ref_logp_BT=logps_of_trees(actors.reference, trees, config.temperature, budget).logp_BT,
        gold_B=None if None in gold else torch.tensor(gold),
        entropy_BT=samples.entropy_BT,
        max_len=config.max_completion_tokens,
        progress=(step - 1) / config.steps,
    )
    return Experience(prompts, trees, samples, rollouts, rewards)


def _score(
    config: Online,
    actors: Actors,
    prompts: Sequence[Prompt],
    completions: Sequence[Completion],
    trees: Sequence[Tree],
    ended_B: Tensor,
) -> Tensor:
    """The reward model's score after the rule for a missing EOS; 0 without one."""
    if actors.scorer is None:
        return torch.zeros(len(ended_B), device=ended_B.device)
    records = [prompt.record for prompt in prompts]
    score_B = actors.scorer.score(records, completions, trees, config.compute.evaluation_budget)
    return config.missing_eos(score_B, ended_B)


@dataclass
class Coefficients:
    """The coefficients in force, of the regularizers in the reward and of those in the loss, and their controllers."""

    reward_states: list[State]
    loss_states: list[State]
    reward: list[float] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)

    @classmethod
    def initial(cls, config: Online) -> Coefficients:
        """Before the first update."""
        return cls(
            [initial_state(r.coef) for r in config.regularizers],
            [initial_state(r.coef) for r in config.loss_regularizers],
        )

    @property
    def states(self) -> dict[str, list[State]]:
        """What a run that goes on starts from."""
        return {"reward": self.reward_states, "loss": self.loss_states}

    @classmethod
    def restored(cls, states: dict[str, list[State]]) -> Coefficients:
        return cls(states["reward"], states["loss"])

    def move(self, config: Online, rollouts: Rollouts) -> None:
        """Take those in force for these rollouts."""
        reward = [current(r.coef, rollouts, s) for r, s in zip(config.regularizers, self.reward_states, strict=True)]
        loss = [current(r.coef, rollouts, s) for r, s in zip(config.loss_regularizers, self.loss_states, strict=True)]
        self.reward, self.reward_states = [coef for coef, _ in reward], [state for _, state in reward]
        self.loss, self.loss_states = [coef for coef, _ in loss], [state for _, state in loss]

    def metrics(self, config: Online) -> dict[str, float]:
        """Those that move."""
        reward = zip(config.regularizers, self.reward, strict=True)
        loss = zip(config.loss_regularizers, self.loss, strict=True)
        return {f"coef_{i}": coef for i, (r, coef) in enumerate(reward) if moves(r.coef)} | {
            f"loss_coef_{i}": coef for i, (r, coef) in enumerate(loss) if moves(r.coef)
        }


def bonus(config: Online, rollouts: Rollouts, coefs: Sequence[float]) -> Tensor:
    """The sum of the regularizers in the reward, detached; `[B]`."""
    bonus_B = torch.zeros_like(rollouts.score_B)
    for regularizer, coef in zip(config.regularizers, coefs, strict=True):
        bonus_B = bonus_B + regularizer(rollouts, coef)
    return bonus_B


def shaped(
    config: Online, actors: Actors, experience: Experience, bonus_B: Tensor, coefs: Sequence[float], step: int
) -> Rewards:
    """What the advantage asks for: shaped rewards by group and, if it needs them, those of greedy completions."""
    rollouts = experience.rollouts
    rewards = Rewards(
        reward_PG=(rollouts.score_B + bonus_B).view(-1, rollouts.group_size),
        length_PG=rollouts.length_B.view(-1, rollouts.group_size),
    )
    if "greedy" in config.advantage.needs:
        baseline = greedy(config, actors, experience.prompts, step)
        rewards.greedy_P = baseline.score_B + bonus(config, baseline, coefs)
    return rewards
