"""Online preference optimization: sample, score, shape, advantage, update, probe, record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

from pydantic import Field, model_validator

from overopt.config import Location, block
from overopt.engine.compute import Compute
from overopt.engine.optimizer import AdamW, LinearDecay, Optimizer, OptimizerSettings, Schedule
from overopt.errors import UserError
from overopt.integrations import Sink
from overopt.models.text import Codec
from overopt.objectives.advantages import RLOO, Advantage
from overopt.objectives.missing_eos import MissingEOS, Replace
from overopt.objectives.policy_losses import PolicyLoss, PPOClip
from overopt.objectives.regularizers import KL, LossRegularizer, RewardRegularizer
from overopt.objectives.state import State, call, initial_state
from overopt.stopping import StopCondition
from overopt.tasks import Miniature, Task
from overopt.training.data import Limits, Prompt, batches, checkpoint_steps, encode_prompts, random_stream
from overopt.training.fields import Count, Keep, Positive, Provenance, Seed, Temperature
from overopt.training.loop import make_evaluator, parent_policy, parent_reference, parent_scorer, tokens_in
from overopt.training.policy_step import needs, update_policy
from overopt.training.probes import Metrics, Probes, consecutive, rollout_metrics
from overopt.training.rewards import RewardFunction, check_rewards
from overopt.training.rollout import SAMPLER_GAP, Actors, Coefficients, bonus, collect, sampler_gap, shaped
from overopt.training.run.session import Session
from overopt.training.run.trainer_state import Moving


@block
class Online:
    """Online RL against a reward model.

    Defaults are the N+ recipe's (Huang et al. 2024) and, for the estimator, those of TRL's old RLOOTrainer.
    """

    stage: ClassVar[str] = "online"

    policy: Location
    """What training starts from: a run or a model folder."""
    reward_model: Location | None
    """The proxy: a run of stage reward_model, or a model folder; null: only `rewards` and regularizers act."""
    rewards: list[RewardFunction] = Field(default_factory=list)
    """Functions of your own, added to the reward model's score: `{name: my_module:fn, weight: 1.0}`."""
    reference: Location | None = None
    """What KL is measured against; null: the policy as it starts."""
    task: Task = Miniature()
    seed: Seed = 0
    regularizers: list[RewardRegularizer] = Field(default=[KL()])
    """Added to the score; an empty list is plain reward maximization."""
    advantage: Advantage = RLOO()
    loss: PolicyLoss = PPOClip()
    loss_regularizers: list[LossRegularizer] = Field(default_factory=list)
    """Added to the loss, with a gradient of their own."""
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
    """Updates per pass; a prompt's samples stay together."""
    temperature: Temperature = 0.7
    """Part of the policy: sampling, ratios, KL and bonus all use it."""
    max_prompt_tokens: Count = 512
    max_completion_tokens: Count = 53
    checkpoint_every: Count | None = None
    """Steps between checkpoints, each evaluated; null: at 10, 25, 50, 75 and 100 percent."""
    keep: Keep = "every"
    """Which checkpoints stay; best: by win rate."""
    stop_when: list[StopCondition] = Field(default_factory=list)
    """Conditions that end the run in time."""
    sinks: list[Sink] = Field(default_factory=list)
    """Where else its numbers go; no part of what the run is, so its record does not name them."""
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
        name, (needed, batch) = type(self.advantage).__name__, _least(self.advantage)
        if self.samples_per_prompt < needed:
            raise ValueError(f"samples_per_prompt: {self.samples_per_prompt} is too few, {name} needs {needed}")
        if self.episodes_per_update < batch:
            raise ValueError(f"episodes_per_update: {self.episodes_per_update} is too few, {name} needs {batch}")
        if self.episodes_per_update % self.samples_per_prompt:
            raise ValueError("episodes_per_update: not a multiple of samples_per_prompt")
        if self.prompts_per_update % self.minibatches:
            raise ValueError("minibatches: does not divide the prompts of an update")
        if self.total_episodes < self.episodes_per_update:
            raise ValueError("total_episodes: less than one update's episodes_per_update")
        if self.reward_model is None and not (self.rewards or self.regularizers or self.loss_regularizers):
            raise ValueError("reward_model: null without rewards or regularizers leaves nothing to optimize")
        return self


def _least(advantage: Advantage) -> tuple[int, int]:
    """The least samples of a prompt, and of a batch, that an advantage takes; one from elsewhere need not say."""
    return getattr(advantage, "minimum_samples", 1), getattr(advantage, "minimum_batch", 1)


def train_online(config: Online, session: Session) -> None:
    """The whole algorithm, top to bottom."""
    actors = _load(config, session)
    limits, dropped = Limits(config.max_prompt_tokens, config.max_completion_tokens), session.dropped("prompts")
    prompts = encode_prompts(actors.codec, config.task.prompts(config.seed, dropped), limits, dropped)
    dropped.kept = len(prompts)
    check_rewards(config.rewards, [prompt.record for prompt in prompts])
    actors.sampler_is_exact = sampler_gap(config, actors, prompts[0]) < SAMPLER_GAP if prompts else True
    order = random_stream(config.seed, "prompt order")
    stream = batches(prompts, config.prompts_per_update, order, "episodes_per_update", dropped)
    evaluator = make_evaluator(config, session, actors.codec, config.temperature, actors.scorer, actors.reference)
    optimizer = Optimizer(actors.policy.parameters(), config.optimizer, config.lr, config.schedule, config.steps)
    checkpoints = checkpoint_steps(config.steps, config.checkpoint_every)
    coefs, advantage_state = Coefficients.initial(config), initial_state(config.advantage)
    moving = Moving(actors.policy, optimizer, stream, evaluator)
    session.start(
        config.steps, split=evaluator.split, optimizer_steps=config.steps * config.epochs * config.minibatches
    )
    session.restore(moving, checkpoints)
    if session.resumed:
        coefs, advantage_state = Coefficients.restored(moving.objectives["coefs"]), moving.objectives["advantage"]
    else:
        session.evaluate(evaluator, actors.policy, 0)
        session.keep(0, {"coefs": coefs.states, "advantage": advantage_state})
    for step in session.steps_left():
        _, advantage_state = make_step(config, actors, optimizer, session, coefs, advantage_state, next(stream), step)
        if step in checkpoints:
            session.evaluate(evaluator, actors.policy, step)
        session.keep(step, {"coefs": coefs.states, "advantage": advantage_state})


def make_step(
    config: Online,
    actors: Actors,
    optimizer: Optimizer,
    session: Session,
    coefs: Coefficients,
    advantage_state: State,
    prompts: Sequence[Prompt],
    step: int,
) -> tuple[Metrics, State]:
    """One step from prompts to its record; the metrics, and the advantage's state after it."""
    experience = session.within_memory(lambda config: collect(config, actors, prompts, step))
    coefs.move(config, experience.rollouts)
    bonus_B = bonus(config, experience.rollouts, coefs.reward)
    rewards = shaped(config, actors, experience, bonus_B, coefs.reward, step)
    advantage_PG, advantage_state = call(config.advantage, rewards, advantage_state)
    experience.advantage_B = advantage_PG.flatten()
    lr = optimizer.lr_at(step - 1)
    statistics = update_policy(config, actors, optimizer, experience, coefs.loss, step - 1, session.within_memory)
    metrics = {"episode": step * config.episodes_per_update, "lr": lr}
    scored = actors.scorer is not None or bool(config.rewards)
    metrics |= rollout_metrics(experience.rollouts, experience.samples, bonus_B, scored) | experience.rewards
    metrics |= coefs.metrics(config) | statistics.metrics()
    if config.probes.due(step, exact=isinstance(config.task, Miniature)):
        metrics |= session.within_memory(
            lambda config: consecutive(
                actors.policy, experience.trees, experience.rollouts, config.compute.evaluation_budget
            )
        )
    session.log(step, metrics, tokens_in(experience.trees))
    return metrics, advantage_state


def _load(config: Online, session: Session) -> Actors:
    policy = parent_policy(session, "policy", config.policy)
    if config.reference is None:
        reference = policy.frozen_copy()
    else:
        reference = parent_reference(session, config.reference, policy, "ref_logits" in needs(config))
    codec = Codec.of(policy, config.task.prompt_style, session.clock)
    scorer = None if config.reward_model is None else parent_scorer(session, config.reward_model, codec)
    if scorer is not None and isinstance(config.missing_eos, Replace) and not scorer.reward_model.normalized:
        raise UserError(
            "missing_eos: replacing a score takes a reward model whose scores are centered, and this one's are not; "
            "use {name: subtract, penalty: 1.0}"
        )
    return Actors(policy, reference, scorer, codec)


__all__ = ["Online", "train_online"]
