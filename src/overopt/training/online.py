"""Online preference optimization: sample, score, shape, advantage, update, probe, record."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from overopt.config import Location, block
from overopt.engine.compute import Compute
from overopt.engine.head import hidden_states, logps_of_trees, target_logps
from overopt.engine.optimizer import AdamW, Linear, Optimizer, OptimizerSettings, Schedule
from overopt.engine.packing import Packed, Tree, micro_batches, pack, row_ranges
from overopt.engine.sampler import DrawKey, Samples, sample, sample_in_batches
from overopt.errors import UserError
from overopt.models.policy import Policy
from overopt.models.reward_model import RewardModel
from overopt.models.text import Codec
from overopt.objectives import controllers
from overopt.objectives.advantages import RLOO, Advantage
from overopt.objectives.missing_eos import MissingEOS, Replace
from overopt.objectives.policy_losses import PolicyLoss, PPOClip
from overopt.objectives.regularizers import KL, RewardRegularizer
from overopt.tasks import Miniature, Task
from overopt.training.common import (
    Count,
    Positive,
    Provenance,
    Seed,
    Temperature,
    make_evaluator,
    parent_policy,
    parent_reward_model,
    tokens_in,
)
from overopt.training.data import Limits, Prompt, batches, checkpoint_steps, encode_prompts, random_stream
from overopt.training.probes import UpdateStatistics, consecutive, rollout_metrics
from overopt.training.session import Session
from overopt.types import PolicyUpdate, Rollouts

SAMPLER_GAP = 1e-3
"""Nats a token; above, old log-probabilities are computed again by the training forward."""


@block
class Online:
    """Online RL against a reward model.

    Defaults are the N+ recipe's (Huang et al. 2024) and, for the estimator, those of TRL's old RLOOTrainer.
    """

    stage: ClassVar[str] = "online"

    policy: Location
    """What training starts from: a run or a model folder."""
    reward_model: Location
    """The proxy: a run of stage reward_model, or a model folder."""
    reference: Location | None = None
    """What KL is measured against; null: the policy as it starts."""
    task: Task = Miniature()
    seed: Seed = 0
    regularizers: list[RewardRegularizer] = Field(default=[KL()])
    """Added to the score; an empty list is plain reward maximization."""
    advantage: Advantage = RLOO()
    loss: PolicyLoss = PPOClip()
    missing_eos: MissingEOS = Replace()
    lr: Positive = 1e-6
    schedule: Schedule = Linear()
    optimizer: OptimizerSettings = AdamW()
    grad_clip: Positive | None = None
    total_episodes: Count = 1_000_000
    episodes_per_update: Count = 512
    samples_per_prompt: Count = 2
    epochs: Count = 4
    """Passes over each batch of rollouts."""
    minibatches: Count = 1
    """Updates per pass; a prompt's samples stay together."""
    temperature: Temperature = 0.7
    """Part of the policy: sampling, ratios, KL and bonus all use it."""
    max_prompt_tokens: Count = 512
    max_completion_tokens: Count = 53
    checkpoint_every: Count | None = None
    """Steps between checkpoints, each evaluated; null: at 10, 25, 50, 75 and 100 percent."""
    compute: Compute = Compute()
    provenance: Provenance = Field(default_factory=dict)

    @property
    def prompts_per_update(self) -> int:
        return self.episodes_per_update // self.samples_per_prompt

    @property
    def steps(self) -> int:
        return self.total_episodes // self.episodes_per_update

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        needed = self.advantage.minimum_samples
        if self.samples_per_prompt < needed:
            name = type(self.advantage).__name__
            raise ValueError(f"samples_per_prompt: {self.samples_per_prompt} is too few, {name} needs {needed}")
        if self.episodes_per_update % self.samples_per_prompt:
            raise ValueError("episodes_per_update: not a multiple of samples_per_prompt")
        if self.prompts_per_update % self.minibatches:
            raise ValueError("minibatches: does not divide the prompts of an update")
        if self.total_episodes < self.episodes_per_update:
            raise ValueError("total_episodes: less than one update's episodes_per_update")
        return self


def train_online(config: Online, session: Session) -> None:
    """The whole algorithm, top to bottom."""
    actors = _load(config, session)
    limits, dropped = Limits(config.max_prompt_tokens, config.max_completion_tokens), session.dropped("prompts")
    prompts = encode_prompts(actors.codec, config.task.prompts(config.seed, dropped), limits, dropped)
    actors.sampler_is_exact = _sampler_gap(config, actors, prompts[0]) < SAMPLER_GAP if prompts else True
    order = random_stream(config.seed, "prompt order")
    stream = batches(prompts, config.prompts_per_update, order, "episodes_per_update", dropped)
    evaluator = make_evaluator(config, session, actors.codec, config.temperature, actors.reward_model, actors.reference)
    optimizer = Optimizer(actors.policy.parameters(), config.optimizer, config.lr, config.schedule, config.steps)
    checkpoints = checkpoint_steps(config.steps, config.checkpoint_every)
    states = [controllers.initial_state(r.coef) for r in config.regularizers]
    session.start(
        config.steps, split=evaluator.split, optimizer_steps=config.steps * config.epochs * config.minibatches
    )
    session.evaluate(evaluator, actors.policy, 0)
    for step in range(1, config.steps + 1):
        experience = _collect(config, actors, next(stream), step)
        bonus_B, coefs, states = _bonus(config, experience.rollouts, states)
        reward_PG = (experience.rollouts.score_B + bonus_B).view(-1, config.samples_per_prompt)
        experience.advantage_B = config.advantage(reward_PG).flatten()
        lr = optimizer.lr_at(step - 1)
        statistics = _update(config, actors.policy, optimizer, experience, step - 1)
        metrics = {"episode": step * config.episodes_per_update, "lr": lr}
        metrics |= rollout_metrics(experience.rollouts, experience.samples, bonus_B) | coefs | statistics.metrics()
        metrics |= consecutive(actors.policy, experience.trees, experience.rollouts, config.compute.evaluation_budget)
        session.log(step, metrics, tokens_in(experience.trees))
        if step in checkpoints:
            session.save(actors.policy, step)
            session.evaluate(evaluator, actors.policy, step)


@dataclass
class _Actors:
    policy: Policy
    reference: Policy
    reward_model: RewardModel
    codec: Codec
    sampler_is_exact: bool = True
    """Whether log-probabilities captured while sampling serve as the old ones (bf16 decoding would fire the clip)."""


def _load(config: Online, session: Session) -> _Actors:
    policy = parent_policy(session, "policy", config.policy)
    if config.reference is None:
        reference = policy.frozen_copy()
    else:
        reference = parent_policy(session, "reference", config.reference)
        reference.freeze()
    reward_model = parent_reward_model(session, config.reward_model)
    if isinstance(config.missing_eos, Replace) and not reward_model.normalized:
        raise UserError(
            "missing_eos: replacing a score takes a reward model whose scores are centered, and this one's are not; "
            "use {name: subtract, penalty: 1.0}"
        )
    return _Actors(policy, reference, reward_model, Codec(policy.tokenizer, config.task.prompt_style))


@dataclass
class _Experience:
    """One update's rollouts, with the trees they are trained on."""

    trees: list[Tree]
    samples: Samples
    rollouts: Rollouts
    advantage_B: Tensor = field(default_factory=lambda: torch.empty(0))


def _sampler_gap(config: Online, actors: _Actors, prompt: Prompt) -> float:
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


def _collect(config: Online, actors: _Actors, prompts: list[Prompt], step: int) -> _Experience:
    """Sample completions, score them by proxy and gold, and take their log-probabilities under the reference."""
    budget, k = config.compute.evaluation_budget, config.samples_per_prompt
    samples = sample_in_batches(
        actors.policy,
        [p.tokens for p in prompts],
        [p.record.prompt_id for p in prompts],
        group_size=k,
        temperature=config.temperature,
        max_tokens=config.max_completion_tokens,
        key=DrawKey(config.seed, "rollouts", step),
        token_budget=budget,
    )
    rows = samples.completions()
    trees = [Tree(p.tokens, rows[i * k : (i + 1) * k]) for i, p in enumerate(prompts)]
    score_B = config.missing_eos(actors.reward_model.score_trees(trees, budget), samples.ended_B)
    logp_BT = samples.logp_BT
    if not actors.sampler_is_exact:
        logp_BT = logps_of_trees(actors.policy, trees, config.temperature, budget).logp_BT
    gold = [config.task.gold(prompts[i // k].record, actors.codec.decode(row)) for i, row in enumerate(rows)]
    rollouts = Rollouts(
        logp_BT=logp_BT,
        mask_BT=samples.mask_BT,
        score_B=score_B,
        group_size=k,
        temperature=config.temperature,
        ref_logp_BT=logps_of_trees(actors.reference, trees, config.temperature, budget).logp_BT,
        gold_B=None if None in gold else torch.tensor(gold),
    )
    return _Experience(trees, samples, rollouts)


def _bonus(
    config: Online, rollouts: Rollouts, states: list[controllers.State]
) -> tuple[Tensor, dict[str, float], list[controllers.State]]:
    """The sum of the regularizers, detached; moving coefficients for the record; the controllers' next states."""
    bonus_B, coefs, after = torch.zeros_like(rollouts.score_B), {}, []
    for i, (regularizer, state) in enumerate(zip(config.regularizers, states, strict=True)):
        coef, moved = controllers.current(regularizer.coef, state, rollouts)
        bonus_B = bonus_B + regularizer(rollouts, coef)
        after.append(moved)
        if moved:
            coefs[f"coef_{i}"] = coef
    return bonus_B, coefs, after


def _update(
    config: Online, policy: Policy, optimizer: Optimizer, experience: _Experience, step: int
) -> UpdateStatistics:
    """Epochs over the rollouts, each cut into minibatches of whole prompts, each of those into micro-batches."""
    statistics = UpdateStatistics()
    old_logits = _old_logits(config, policy, experience)
    for epoch in range(config.epochs):
        order = random_stream(config.seed, f"minibatches {step} {epoch}").permutation(len(experience.trees))
        size = len(order) // config.minibatches
        for start in range(0, len(order), size):
            chosen = sorted(order[start : start + size].tolist())  # sorted: one minibatch is the batch as it is
            _descend(config, policy, experience, chosen, old_logits, statistics, first=epoch == 0 and start == 0)
            statistics.grad_norms.append(float(optimizer.step(step, config.grad_clip)))
    return statistics


def _descend(
    config: Online,
    policy: Policy,
    experience: _Experience,
    chosen: list[int],
    old_logits: dict[int, Tensor],
    statistics: UpdateStatistics,
    first: bool,
) -> None:
    """Gather the gradient of the mean loss over the rows of some prompts."""
    rows_of = row_ranges(experience.trees)
    trees = [experience.trees[i] for i in chosen]
    total_rows = sum(len(tree.completions) for tree in trees)
    for batch in micro_batches(trees, config.compute.token_budget):
        members = [chosen[i] for i in batch]
        packed = pack([trees[i] for i in batch], policy.pad_id, policy.device)
        rows = [row for i in members for row in rows_of[i]]
        update = _policy_update(config, policy, experience, packed, rows)
        if old_logits:
            update.old_logits_MV = torch.cat([old_logits[i] for i in members])
        loss_B = config.loss(update)
        (loss_B.sum() / total_rows).backward()
        statistics.add(update, loss_B.detach(), config.loss.clipped(update), total_rows, first)


def _policy_update(
    config: Online, policy: Policy, experience: _Experience, packed: Packed, rows: list[int]
) -> PolicyUpdate:
    hidden = hidden_states(policy, packed)
    logp_BT = packed.spread(target_logps(policy, hidden, packed, config.temperature))
    update = PolicyUpdate(
        logp_BT=logp_BT,
        old_logp_BT=experience.rollouts.logp_BT[rows, : packed.width],
        mask_BT=packed.mask_BT,
        advantage_B=experience.advantage_B[rows],
    )
    if "logits" in config.loss.needs:
        update.logits_MV = policy.logits(hidden[packed.source_M]).float() / config.temperature
        update.token_M = packed.token_M
    return update


@torch.no_grad()
def _old_logits(config: Online, policy: Policy, experience: _Experience) -> dict[int, Tensor]:
    """Dense logits of each tree under the policy that sampled it, if the loss asks for them."""
    if "logits" not in config.loss.needs:
        return {}
    logits = {}
    for i, tree in enumerate(experience.trees):
        packed = pack([tree], policy.pad_id, policy.device)
        logits[i] = policy.logits(hidden_states(policy, packed)[packed.source_M]).float() / config.temperature
    return logits


__all__ = ["Online", "train_online"]
