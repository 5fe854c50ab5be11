"""Online preference optimization: sample, score, shape, advantage, update, probe, record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, NamedTuple, Self

from pydantic import Field, model_validator

from overopt.config import Location, Positive, block
from overopt.engine import ranks
from overopt.engine.compute import Compute
from overopt.engine.memory import TokenBudget
from overopt.engine.optimizer import AdamW, LinearDecay, Optimizer, OptimizerSettings, Schedule
from overopt.errors import UserError
from overopt.integrations import Sink
from overopt.models.policy import Policy
from overopt.models.scorer import Scorer
from overopt.models.text import Codec
from overopt.models.trainable import Full, LoRA, Trainable
from overopt.objectives.advantages import RLOO, Advantage
from overopt.objectives.missing_eos import MissingEOS, Replace
from overopt.objectives.policy_losses import PolicyLoss, PPOClip
from overopt.objectives.regularizers import KL, LossRegularizer, RewardRegularizer
from overopt.objectives.state import State, call, initial_state
from overopt.stopping import StopCondition
from overopt.tasks import Miniature, Task
from overopt.training.centering import Centering, Recorded, center
from overopt.training.data import Prompt, batches, encode_prompts, random_stream
from overopt.training.fields import Count, Keep, Provenance, Seed, Temperature
from overopt.training.loop import checkpoint_steps, make_evaluator, tokens_in
from overopt.training.policy_step import PolicyStep, needs
from overopt.training.probes import Metrics, Probes, consecutive, rollout_metrics
from overopt.training.rewards import RewardFunction, check_rewards
from overopt.training.rollout import SAMPLER_GAP, RolloutWorker
from overopt.training.run.session import Session
from overopt.training.run.trainer_state import TrainerState
from overopt.training.samplers import Own, Sampler, SamplesElsewhere
from overopt.training.shaping import bonus, coefficient_metrics, coefficients, initial_coefficients, shape
from overopt.types import Dropped


@block
class Online:
    """Online RL against a reward model.

    Defaults are those of "The N+ Implementation Details of RLHF with PPO" (Huang et al. 2024) and, for the estimator,
    those of TRL's old RLOOTrainer.
    """

    stage: ClassVar[str] = "online"

    policy: Location
    """What training starts from: a run or a model folder."""
    trainable: Trainable = Full()
    """What is trained: every weight, or LoRA's matrices beside them."""
    reward_model: Location | None
    """The proxy: a run of stage reward_model, or a model folder; null: only `rewards` and regularizers act."""
    rewards: list[RewardFunction] = Field(default_factory=list)
    """Functions of your own, added to the reward model's score: `{name: my_module:fn, weight: 1.0}`."""
    reference: Location | None = None
    """What KL is measured against; null: the policy as it starts. With LoRA that takes no memory of its own."""
    task: Task = Miniature()
    seed: Seed = 0
    regularizers: list[RewardRegularizer] = Field(default=[KL()])
    """Added to the score; an empty list is plain reward maximization."""
    advantage: Advantage = RLOO()
    loss: PolicyLoss = PPOClip()
    loss_regularizers: list[LossRegularizer] = Field(default_factory=list)
    """Added to the loss, with a gradient of their own."""
    centering: Centering = Recorded()
    """Which score of the reward model is 0."""
    missing_eos: MissingEOS = Replace()
    """What the reward model's score becomes where a completion did not end."""
    lr: Positive = 1e-6
    schedule: Schedule = LinearDecay()
    optimizer: OptimizerSettings = AdamW()
    grad_clip: Positive | None = None
    total_episodes: Count = 1_000_000
    episodes_per_update: Count = 512
    samples_per_prompt: Count = 2
    epochs: Count = 4
    """Passes over each batch of rollouts."""
    minibatches: Count = 1
    """Minibatches of a pass, with an optimizer step for each; a prompt's samples stay together."""
    sampler: Sampler = Own()
    """Who samples the rollouts; evaluations are always the engine's."""
    temperature: Temperature = 0.7
    """Part of the policy: sampling, ratios, KL and bonus all use it."""
    max_prompt_tokens: Count = 512
    max_completion_tokens: Count = 53
    checkpoint_every: Count | None = None
    """Steps between checkpoints, each evaluated; null: at 10, 25, 50, 75 and 100 percent."""
    keep: Keep = "every"
    """Which checkpoints stay; best: by win rate, or by held-out pair accuracy where nothing judges completions."""
    stop_when: list[StopCondition] = Field(default_factory=list)
    """Conditions that end the run early."""
    sinks: list[Sink] = Field(default_factory=list)
    """Where else its numbers go. Sinks do not affect the run, so its `config.yaml` does not name them."""
    probes: Probes = Probes()
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
        name = type(self.advantage).__name__
        if self.samples_per_prompt < (least := self.advantage.minimum_samples):
            raise ValueError(f"samples_per_prompt: {self.samples_per_prompt} is too few, {name} needs {least}")
        if self.episodes_per_update < (least := self.advantage.minimum_batch):
            raise ValueError(f"episodes_per_update: {self.episodes_per_update} is too few, {name} needs {least}")
        if self.episodes_per_update % self.samples_per_prompt:
            raise ValueError(
                f"episodes_per_update: {self.episodes_per_update} is not a multiple of samples_per_prompt, "
                f"{self.samples_per_prompt}"
            )
        if self.prompts_per_update % self.minibatches:
            raise ValueError(
                f"minibatches: {self.minibatches} does not divide the {self.prompts_per_update} prompts of a step "
                "(episodes_per_update / samples_per_prompt)"
            )
        if self.total_episodes < self.episodes_per_update:
            raise ValueError("total_episodes: less than one update's episodes_per_update")
        if isinstance(self.trainable, LoRA) and self.trainable.dropout:
            raise ValueError("trainable.dropout: an online run compares the policy with itself, which takes dropout 0")
        if self.reward_model is None and not (self.rewards or self.regularizers or self.loss_regularizers):
            raise ValueError("reward_model: null without rewards or regularizers leaves nothing to optimize")
        return self


def train_online(config: Online, session: Session) -> None:
    """Sample, score, shape, advantage, update, probe (`make_step`); log, evaluate, checkpoint."""
    policy, reference, scorer, codec = _load(config, session)
    dropped = session.dropped("prompts")
    prompts = encode_prompts(codec, config.task.prompts(config.seed, dropped), session.limits, dropped)
    dropped.kept = len(prompts)
    check_rewards(config.rewards, prompts.map(lambda prompt: prompt.record))
    order = random_stream(config.seed, "prompt order")
    stream = batches(prompts, config.prompts_per_update, order, "episodes_per_update", dropped)
    longest = session.limits.prompt + session.limits.completion
    if ranks.several() and not isinstance(config.sampler, Own):
        raise UserError(
            "sampler: another program samples for one training process only; start one, or use sampler: own"
        )
    elsewhere = config.sampler.start(policy, longest, session.notice)
    worker = rollout_worker(config, policy, reference, scorer, codec, elsewhere)
    # where decoding and the training forward pass disagree, old log-probabilities are computed again
    gap = session.budget.without_gradient(partial(worker.sampler_gap, prompts[0]))
    worker = replace(worker, sampler_is_exact=gap < SAMPLER_GAP)
    evaluator = make_evaluator(session, config.task, config.seed, codec, config.temperature, scorer, reference)
    optimizer = Optimizer(policy.parameters(), config.optimizer, config.lr, config.schedule, config.steps)
    update = policy_step(config, policy, reference, optimizer)
    checkpoints = checkpoint_steps(config.steps, config.checkpoint_every)
    trainer = TrainerState(policy, optimizer, stream, evaluator, initial_states(config))
    updates = config.steps * config.epochs * config.minibatches
    about: dict[str, Any] = {"split": evaluator.split, "optimizer_steps": updates}
    about |= {} if elsewhere is None else {"sampler": dict(elsewhere.about)}
    with session.start(trainer, config.steps, checkpoints, **about) as run:
        if not run.resumed:
            run.evaluate(evaluator, policy, 0)
            run.keep(0)
        for step in run.steps_left():
            made = make_step(config, worker, update, trainer.objectives, next(trainer.stream), step, run.budget)
            trainer.objectives = made.states
            run.log(step, made.metrics, made.tokens)
            if step in checkpoints:
                run.evaluate(evaluator, policy, step)
            run.keep(step)


class Step(NamedTuple):
    """The result of one step."""

    metrics: Metrics
    states: State
    """States of the coefficients and of the advantage, for the next step."""
    tokens: int
    """Tokens in the rollouts, each prompt counted once."""


def make_step(
    config: Online,
    worker: RolloutWorker,
    update: PolicyStep,
    states: State,
    prompts: Sequence[Prompt],
    step: int,
    budget: TokenBudget,
) -> Step:
    """One step, from prompts to an updated policy."""
    # sample and score
    experience = budget.without_gradient(partial(worker.collect, prompts, step))
    rollouts = experience.rollouts
    # shape
    coefs, coef_states = coefficients(config.regularizers, rollouts, states["coefs"]["reward"])
    loss_coefs, loss_states = coefficients(config.loss_regularizers, rollouts, states["coefs"]["loss"])
    bonus_B, greedy_P = bonus(config.regularizers, coefs, rollouts), None
    if "greedy" in config.advantage.needs:
        greedy = budget.without_gradient(partial(worker.greedy, prompts, step))
        greedy_P = greedy.score_B + bonus(config.regularizers, coefs, greedy)
    # advantage
    rewards = shape(rollouts, bonus_B, greedy_P)
    advantage_PG, advantage_state = call(config.advantage, rewards, states["advantage"])
    # update
    statistics = update(experience, advantage_PG.flatten(), loss_coefs, step, budget)
    # probe
    metrics = {"episode": step * config.episodes_per_update, "lr": update.optimizer.lr_at(step)}
    metrics |= rollout_metrics(rollouts, experience.samples, bonus_B, worker.scored) | experience.rewards
    metrics |= coefficient_metrics(config.regularizers, coefs, "coef")
    metrics |= coefficient_metrics(config.loss_regularizers, loss_coefs, "loss_coef")
    metrics |= statistics.metrics() | experience.sampled
    if config.probes.due(step, config.task.cheap_to_measure):
        metrics |= budget.without_gradient(partial(consecutive, worker.policy, experience.trees, rollouts))
    after = {"coefs": {"reward": coef_states, "loss": loss_states}, "advantage": advantage_state}
    return Step(metrics, after, tokens_in(experience.trees))


def initial_states(config: Online) -> State:
    """The states of coefficients and advantage before the first step."""
    reward, loss = initial_coefficients(config.regularizers), initial_coefficients(config.loss_regularizers)
    return {"coefs": {"reward": reward, "loss": loss}, "advantage": initial_state(config.advantage)}


def rollout_worker(
    config: Online,
    policy: Policy,
    reference: Policy,
    scorer: Scorer | None,
    codec: Codec,
    elsewhere: SamplesElsewhere | None = None,
) -> RolloutWorker:
    """The worker that makes the rollouts of each step; unless they are sampled elsewhere, by the engine."""
    return RolloutWorker(
        policy, reference, scorer, codec, config.task, config.rewards, config.missing_eos,
        group_size=config.samples_per_prompt, temperature=config.temperature,
        max_completion_tokens=config.max_completion_tokens, seed=config.seed, steps=config.steps,
        elsewhere=elsewhere,
    )  # fmt: skip


def policy_step(config: Online, policy: Policy, reference: Policy, optimizer: Optimizer) -> PolicyStep:
    """The update of the policy on the rollouts of each step."""
    return PolicyStep(
        policy, reference, optimizer, config.loss, config.loss_regularizers,
        epochs=config.epochs, minibatches=config.minibatches, grad_clip=config.grad_clip, seed=config.seed,
    )  # fmt: skip


def _load(config: Online, session: Session) -> tuple[Policy, Policy, Scorer | None, Codec]:
    """The policy, its frozen reference, the reward model, and the policy's tokens."""
    policy = session.parents.policy("policy", config.policy)
    session.train_only(config.trainable, policy)
    if config.reference is None:
        reference = session.parents.copy_of(policy)
    else:
        dense = "ref_logits" in needs(config.loss, config.loss_regularizers)
        reference = session.parents.reference(config.reference, policy, dense)
    codec = Codec.of(policy, config.task.prompt_style, session.clock)
    scorer = None if config.reward_model is None else session.parents.scorer(config.reward_model, codec)
    if scorer is not None:
        demonstrations = partial(config.task.demonstrations, config.seed, Dropped())
        known = session.recorded_parent("reward_model")
        center_at = center(config.centering, scorer, demonstrations, codec, session.limits, session.budget, known)
        session.parents.record("reward_model").update(center_at)
        if isinstance(config.missing_eos, Replace) and not scorer.reward_model.normalized:
            raise UserError(
                "missing_eos: replacing a score takes a reward model whose scores are centered, and this one's are "
                "not: set centering: demonstrations, or missing_eos: {name: subtract, penalty: 1.0}"
            )
    return policy, reference, scorer, codec
