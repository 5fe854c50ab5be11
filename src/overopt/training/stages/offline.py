"""Offline preference optimization: pairs or rankings, loss, update, probe, record."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import ClassVar, Self

from pydantic import Field, model_validator

from overopt.config import Location, Positive, block
from overopt.engine.compute import Compute
from overopt.engine.optimizer import AdamW, CosineDecay, Optimizer, OptimizerSettings, Schedule
from overopt.integrations import Sink
from overopt.models.policy import Policy
from overopt.models.text import Codec
from overopt.models.trainable import Full, Trainable
from overopt.objectives.pair_losses import DPO
from overopt.objectives.ranking_losses import PreferenceLoss, RankingLosses
from overopt.objectives.state import State, initial_state
from overopt.records.layout import REFERENCE_LOGPS
from overopt.spooled import at
from overopt.stopping import StopCondition
from overopt.tasks import Miniature, Task
from overopt.training.data import batches, common_size, encode_views, of_size, random_stream
from overopt.training.fields import Count, Keep, Provenance, Seed, Temperature
from overopt.training.loop import checkpoint_steps, make_evaluator, tokens_in
from overopt.training.pairs import FromRun, Pairs, PairSampler, Stored, check_takes
from overopt.training.preference_step import PreferenceBatch, PreferenceStep
from overopt.training.reference_logps import Item, ask_reference
from overopt.training.run.session import Session
from overopt.training.run.started import StartedRun
from overopt.training.run.trainer_state import TrainerState
from overopt.types import Dropped, Preference

HELDOUT_PAIRS = 128
"""Held-out pairs measured at each evaluation."""


@block
class Offline:
    """Preference optimization on fixed pairs or rankings. Defaults are the N+ recipe's (Huang et al. 2024)."""

    stage: ClassVar[str] = "offline"

    policy: Location
    """What training starts from: a run or a model folder."""
    trainable: Trainable = Full()
    """What is trained: every weight, or LoRA's matrices beside them."""
    reference: Location | None = None
    """What the loss compares with; null: the policy as it starts. It is asked once for each pair, before the first
    step. A loss without a reference skips that pass, and `ref_margin` is then not recorded, unless this is set or the
    task is the miniature. Held-out pairs are always compared."""
    reward_model: Location | None = None
    """Scores the evaluations' completions (the proxy); training does not use it."""
    task: Task = Miniature()
    pairs: Pairs = Stored()
    seed: Seed = 0
    loss: PreferenceLoss = DPO()
    lr: Positive = 1e-6
    epochs: Count = 1
    steps: Count | None = None
    """Updates; null: as many as the epochs hold."""
    batch_size: Count = 64
    schedule: Schedule = CosineDecay()
    optimizer: OptimizerSettings = AdamW()
    grad_clip: Positive | None = None
    temperature: Temperature = 1.0
    """Temperature of the log-probabilities in the loss."""
    evaluation_temperature: Temperature = 0.7
    """Temperature of the samples on which KL to the reference is measured."""
    prepend_bos: bool = False
    """Train on prompts that begin with BOS, also where the tokenizer puts none there, as TRL's CPOTrainer does (CPO,
    SimPO). Evaluations answer prompts without it, as everywhere else."""
    max_prompt_tokens: Count = 512
    max_completion_tokens: Count = 169
    checkpoint_every: Count | None = None
    """Steps between checkpoints, each evaluated; null: at 10, 25, 50, 75 and 100 percent."""
    keep: Keep = "every"
    """Which checkpoints stay; best: by win rate, or by held-out pair accuracy where nothing judges completions."""
    stop_when: list[StopCondition] = Field(default_factory=list)
    """Conditions that end the run early."""
    sinks: list[Sink] = Field(default_factory=list)
    """Where else its numbers go. Sinks do not affect the run, so its `config.yaml` does not name them."""
    compute: Compute = Compute()
    provenance: Provenance = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if "mismatched" in self.loss.needs and self.batch_size < 2:
            name = type(self.loss).__name__
            raise ValueError(f"batch_size: {name} pairs each prompt with another's completion; use 2 or more")
        return self

    @property
    def uses_reference(self) -> bool:
        """Whether the loss, or the record of each step, needs the reference."""
        wanted = self.reference is not None or self.task.cheap_to_measure
        return wanted or "reference" in self.loss.needs

    @property
    def reference_is_fixed(self) -> bool:
        """Whether the reference's answer about a pair is the same in every batch."""
        return "mismatched" not in self.loss.needs

    def updates(self, pairs: int) -> int:
        """How many steps are made on so many training pairs."""
        return self.steps or max(1, self.epochs * (pairs // self.batch_size))


def train_offline(config: Offline, session: Session) -> None:
    """Read pairs, ask the reference; loss, update (`PreferenceStep`); log, evaluate, checkpoint."""
    policy, reference = _policies(config, session)
    codec = Codec.of(policy, config.task.prompt_style, session.clock)
    scorer = None if config.reward_model is None else session.parents.scorer(config.reward_model, codec)
    train, heldout_items = _items(config, session, policy, codec)
    steps = config.updates(len(train))
    order = random_stream(config.seed, "pair order")
    stream = batches(range(len(train)), config.batch_size, order, "batch_size", session.dropped("pairs"))
    drawn = list(itertools.islice(stream, steps))
    temperature = config.evaluation_temperature
    evaluator = make_evaluator(session, config.task, config.seed, codec, temperature, scorer, reference)
    optimizer = Optimizer(policy.parameters(), config.optimizer, config.lr, config.schedule, steps)
    compared = reference if config.uses_reference else None
    update = PreferenceStep(policy, compared, optimizer, config.loss, config.temperature, config.grad_clip)
    heldout = None
    if len(heldout_items) >= 2:
        heldout = session.budget.without_gradient(partial(update.batch, heldout_items, reference))
    checkpoints = checkpoint_steps(steps, config.checkpoint_every)
    trainer = TrainerState(policy, optimizer, iter(drawn), evaluator, initial_state(config.loss))
    with session.start(trainer, steps, checkpoints, split=evaluator.split) as run:
        item: Callable[[int], Item] = train.__getitem__
        if config.reference_is_fixed and compared is not None:
            used = sorted({i for batch in drawn for i in batch})
            ask = partial(ask_reference, compared, at(train, used), config.temperature, session.out / REFERENCE_LOGPS)
            item = run.budget.without_gradient(ask).of(used)
        if not run.resumed:
            run.evaluate(evaluator, policy, 0)
            _evaluate_pairs(run, update, heldout, trainer.objectives, evaluator.split, 0)
            run.keep(0)
        for step in run.steps_left():
            batch = [item(i) for i in next(trainer.stream)]
            metrics, trainer.objectives = update(batch, trainer.objectives, step, run.budget)
            run.log(step, metrics, tokens_in([tree for item in batch for tree in item.views]))
            if step in checkpoints:
                run.evaluate(evaluator, policy, step)
                _evaluate_pairs(run, update, heldout, trainer.objectives, evaluator.split, step)
            run.keep(step)


def _policies(config: Offline, session: Session) -> tuple[Policy, Policy]:
    """The policy and the reference, frozen."""
    policy = session.parents.policy("policy", config.policy)
    session.train_only(config.trainable, policy)
    if config.reference is None:
        return policy, session.parents.copy_of(policy)
    return policy, session.parents.reference(config.reference, policy)


def _items(config: Offline, session: Session, policy: Policy, codec: Codec) -> tuple[Sequence[Item], Sequence[Item]]:
    """Training and held-out pairs or rankings that fit, all of one size."""
    if isinstance(config.pairs, FromRun):
        session.parents.folder("pairs", config.pairs.path, ("reward_model",))
    dropped, limits = session.dropped("pairs"), session.limits
    sampler = PairSampler(config.task, codec, policy, config.seed, limits, dropped)
    pairs = session.budget.within(partial(config.pairs.collect, sampler))
    size = common_size(pairs.train)
    written = replace(codec, prepend_bos=config.prepend_bos)
    check_takes("loss", config.loss, size, RankingLosses)

    def encoded(records: Sequence[Preference], dropped: Dropped) -> Sequence[Item]:
        views = encode_views(written, of_size(records, size, dropped), config.loss.prompts, limits, dropped)
        dropped.kept = len(views)
        return views.map(Item)

    heldout_dropped = session.dropped("held-out pairs")
    return encoded(pairs.train, dropped), encoded(pairs.heldout[:HELDOUT_PAIRS], heldout_dropped)


def _evaluate_pairs(
    run: StartedRun, update: PreferenceStep, heldout: PreferenceBatch | None, state: State, split: str, step: int
) -> None:
    """Record accuracy and margin of the loss's implicit reward on held-out pairs."""
    if heldout is None:
        return
    metrics = run.budget.within(partial(update.measure, heldout, state))
    accuracy = metrics["rewards_acc"]
    row = {"step": step, "split": split, "judge": "pairs", "n": heldout.size}
    run.record(row | {"accuracy": accuracy, "margin": metrics["rewards_margin"]} | metrics, accuracy)
