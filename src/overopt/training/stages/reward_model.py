"""The reward model: trained on preference pairs or rankings. It is the proxy that online training climbs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import ClassVar, Literal

import torch
from pydantic import Field

from overopt.config import Location, Positive, block
from overopt.engine import ranks
from overopt.engine.compute import Compute
from overopt.engine.optimizer import AdamW, CosineDecay, Optimizer, OptimizerSettings, Schedule
from overopt.engine.packing import Tree, micro_batches, pack
from overopt.errors import UserError
from overopt.integrations import Sink
from overopt.models.reward_model import RewardModel
from overopt.models.text import Codec
from overopt.models.trainable import Full, Trainable
from overopt.objectives.reward_losses import BradleyTerry, PlackettLuce, RewardLoss
from overopt.stopping import StopCondition
from overopt.tasks import Miniature, Task
from overopt.training.data import (
    Limits,
    batches,
    common_size,
    encode_demonstrations,
    encode_preferences,
    of_size,
    random_stream,
)
from overopt.training.fields import Count, Keep, Provenance, Seed
from overopt.training.heldout import Heldout, gaps
from overopt.training.loop import checkpoint_steps, tokens_in
from overopt.training.pairs import FromRun, Pairs, PairSampler, Sampled, check_takes, to_row
from overopt.training.probes import in_order
from overopt.training.run.session import Session
from overopt.training.run.started import StartedRun
from overopt.training.run.trainer_state import TrainerState
from overopt.types import Dropped


@block
class RewardModelStage:
    """A score on a policy's body, trained to rank completions. Defaults are the N+ recipe's (Huang et al. 2024)."""

    stage: ClassVar[str] = "reward_model"

    policy: Location
    """The policy whose body it starts from, and which samples the pairs: a run or a model folder."""
    trainable: Trainable = Full()
    """What is trained: every weight, or LoRA's matrices beside them and the head."""
    task: Task = Miniature()
    pairs: Pairs = Sampled()
    loss: RewardLoss = BradleyTerry()
    seed: Seed = 0
    lr: Positive = 3e-6
    epochs: Count = 1
    batch_size: Count = 64
    schedule: Schedule = CosineDecay()
    optimizer: OptimizerSettings = AdamW(weight_decay=0.01)
    grad_clip: Positive | None = None
    normalization: Literal["center", "standardize", "none"] = "center"
    """center: the task's demonstrations score 0 on average (the recipe); standardize: held-out completions have mean 0
    and standard deviation 1; none: as trained."""
    max_prompt_tokens: Count = 512
    max_completion_tokens: Count = 169
    checkpoint_every: Count | None = None
    """Steps between checkpoints, each with its scores normalized; null: only the last is kept."""
    keep: Keep = "every"
    """Which checkpoints stay; best: by held-out accuracy."""
    stop_when: list[StopCondition] = Field(default_factory=list)
    """Conditions that end the run early."""
    sinks: list[Sink] = Field(default_factory=list)
    """Where else its numbers go. Sinks do not affect the run, so its `config.yaml` does not name them."""
    compute: Compute = Compute()
    provenance: Provenance = Field(default_factory=dict)

    def updates(self, pairs: int) -> int:
        """How many steps are made on so many training pairs."""
        return max(1, self.epochs * (pairs // self.batch_size))


def train_reward_model(config: RewardModelStage, session: Session) -> None:
    """Sample or read pairs; loss, update, log, normalize, evaluate on held-out pairs, checkpoint."""
    policy = session.parents.policy("policy", config.policy)
    codec = Codec.of(policy, config.task.prompt_style, session.clock)
    dropped, limits = session.dropped("pairs"), session.limits
    split, _ = config.task.evaluation(config.seed, Dropped())
    source = FromRun(path=str(session.out)) if session.has_pairs else config.pairs
    sampler = PairSampler(config.task, codec, policy, config.seed, limits, dropped)
    pairs = session.budget.without_gradient(partial(source.collect, sampler))
    size = common_size(pairs.train)
    check_takes("loss", config.loss, size, PlackettLuce)
    train = encode_preferences(codec, of_size(pairs.train, size, dropped), limits, dropped)
    dropped.kept = len(train)
    stream = batches(train, config.batch_size, random_stream(config.seed, "pair order"), "batch_size", dropped)
    counted = of_size(pairs.train, size, Dropped())
    heldout = Heldout.of(codec, pairs.heldout, counted, size, limits, session.dropped("held-out pairs"))
    normalizing = _normalizing_trees(config, codec, heldout, limits)
    steps = config.updates(len(train))
    generator = torch.Generator().manual_seed(config.seed)
    reward_model = RewardModel.from_policy(policy, generator, config.task.prompt_style)
    policy.freeze()  # its pairs are there; under bf16 it takes half the memory now
    session.train_only(config.trainable, reward_model)
    optimizer = Optimizer(reward_model.parameters(), config.optimizer, config.lr, config.schedule, steps)
    checkpoints = checkpoint_steps(steps, config.checkpoint_every or steps)
    states = checkpoint_steps(steps, config.checkpoint_every)
    trainer = TrainerState(reward_model, optimizer, stream)
    with session.start(trainer, steps, checkpoints, states, split=split) as run:
        if not run.resumed:
            if isinstance(config.pairs, Sampled):
                rows = [to_row(r, False) for r in pairs.train] + [to_row(r, True) for r in pairs.heldout]
                run.writer.write_pairs(rows)
            _evaluate(run, heldout, reward_model, split, 0)
            run.keep(0)
        for step in run.steps_left():
            batch = next(trainer.stream)
            loss, accuracy = run.budget.within(partial(descend, reward_model, config.loss, batch), optimizer.discard)
            lr, norm = optimizer.lr_at(step), optimizer.step(step, config.grad_clip)
            metrics = {"loss": loss, "rewards_acc": accuracy, "lr": lr, "grad_norm": float(norm)}
            run.log(step, metrics, tokens_in(batch))
            if step in checkpoints:
                if config.normalization != "none":
                    standardize = config.normalization == "standardize"
                    run.budget.without_gradient(partial(normalize, reward_model, normalizing, standardize))
                _evaluate(run, heldout, reward_model, split, step)
            run.keep(step)


def descend(
    reward_model: RewardModel, reward_loss: BradleyTerry | PlackettLuce, trees: list[Tree], token_budget: int
) -> tuple[float, float]:
    """Gather the gradient of the mean loss over the records; returns that mean and the accuracy on their pairs."""
    size, own = len(trees[0].completions), ranks.share(trees)
    total, right = 0.0, 0.0
    for batch in micro_batches(own, token_budget):
        packed = pack([own[i] for i in batch], reward_model.device)
        score_PK = reward_model.raw_score(packed).view(-1, size)
        loss = reward_loss(score_PK).sum() / len(trees)
        loss.backward()
        total += float(loss.detach())
        right += float(in_order(gaps(score_PK.detach())).mean(1).sum())
    return ranks.total(total), ranks.total(right) / len(trees)


def _evaluate(run: StartedRun, heldout: Heldout, reward_model: RewardModel, split: str, step: int) -> None:
    measured = run.budget.without_gradient(partial(heldout.agreement, reward_model))
    run.record({"step": step, "split": split, "judge": "pairs", **measured}, measured.get("accuracy"))


def _normalizing_trees(config: RewardModelStage, codec: Codec, heldout: Heldout, limits: Limits) -> Sequence[Tree]:
    """The completions whose scores set the zero and the unit; asked for before training, so that none is lost."""
    if config.normalization == "center":
        trees = encode_demonstrations(codec, config.task.demonstrations(config.seed, Dropped()), limits, Dropped())
        if not trees:
            raise UserError(
                "normalization: center needs demonstrations, and this task has none; use none or standardize"
            )
        return trees
    if config.normalization == "standardize":
        if len(heldout.trees) < 2:
            raise UserError("normalization: standardize needs at least 2 held-out pairs; use center or none")
        return heldout.trees
    return []


def normalize(reward_model: RewardModel, trees: Sequence[Tree], standardize: bool, token_budget: int) -> None:
    """Shift the scores to mean 0 on these completions, or standardize them, whatever an earlier checkpoint's shift was.

    A shift cancels in advantages except where a missing EOS replaces the score.
    """
    reward_model.normalize(0.0, 1.0)
    scores = reward_model.score_trees(trees, token_budget)
    reward_model.normalize(float(scores.mean()), float(scores.std()) if standardize else 1.0)
