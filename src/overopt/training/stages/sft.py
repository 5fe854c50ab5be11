"""Supervised fine-tuning on demonstrations: the policy that everything else starts from, and the reference."""

from __future__ import annotations

from functools import partial
from typing import ClassVar, Self

import torch
from pydantic import Field, model_validator

from overopt.config import Positive, block
from overopt.engine import ranks
from overopt.engine.compute import Compute
from overopt.engine.head import target_logps
from overopt.engine.optimizer import AdamW, CosineDecay, Optimizer, OptimizerSettings, Schedule
from overopt.engine.packing import Tree, micro_batches, pack
from overopt.integrations import Sink
from overopt.models.load import Model, Pretrained, Scratch
from overopt.models.policy import Policy
from overopt.models.text import Codec
from overopt.models.trainable import Full, LoRA, Trainable
from overopt.stopping import StopCondition
from overopt.tasks import Miniature, Task
from overopt.training.data import batches, encode_demonstrations, random_stream
from overopt.training.fields import Count, Keep, Provenance, Seed
from overopt.training.loop import checkpoint_steps, make_evaluator, tokens_in
from overopt.training.run.session import Session
from overopt.training.run.trainer_state import TrainerState


@block
class SFT:
    """Token cross-entropy on demonstrations. Defaults are the N+ recipe's (Huang et al. 2024)."""

    stage: ClassVar[str] = "sft"

    task: Task = Miniature()
    model: Model = Scratch()
    trainable: Trainable = Full()
    """What is trained: every weight, or LoRA's matrices beside them."""
    seed: Seed = 0
    lr: Positive = 3e-6
    steps: Count | None = None
    """Updates; null: one pass over the demonstrations."""
    batch_size: Count = 128
    loss_on_prompt: bool = True
    """Whether the prompt's tokens are learnt too, as the recipe has it."""
    schedule: Schedule = CosineDecay()
    optimizer: OptimizerSettings = AdamW(weight_decay=0.01)
    grad_clip: Positive | None = None
    max_prompt_tokens: Count = 512
    max_completion_tokens: Count = 53
    checkpoint_every: Count | None = None
    """Steps between checkpoints, each evaluated; null: at 10, 25, 50, 75 and 100 percent."""
    keep: Keep = "every"
    """Which checkpoints stay; best: by win rate."""
    stop_when: list[StopCondition] = Field(default_factory=list)
    """Conditions that end the run early."""
    sinks: list[Sink] = Field(default_factory=list)
    """Where else its numbers go. Sinks do not affect the run, so its `config.yaml` does not name them."""
    compute: Compute = Compute()
    provenance: Provenance = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if isinstance(self.model, Scratch) and isinstance(self.trainable, LoRA):
            raise ValueError("trainable: lora adapts a model that exists: use model: {name: pretrained, path: ...}")
        return self

    def updates(self, demonstrations: int) -> int:
        """How many steps are made on so many demonstrations."""
        return self.steps or demonstrations // self.batch_size


def train_sft(config: SFT, session: Session) -> None:
    """Read demonstrations; cross-entropy, update, log, evaluate, checkpoint."""
    policy = _initial_policy(config, session)
    codec = Codec.of(policy, config.task.prompt_style, session.clock)
    dropped = session.dropped("demonstrations")
    demonstrations = config.task.demonstrations(config.seed, dropped)
    trees = encode_demonstrations(codec, demonstrations, session.limits, dropped)
    dropped.kept = len(trees)
    stream = batches(trees, config.batch_size, random_stream(config.seed, "sft order"), "batch_size", dropped)
    steps = config.updates(len(trees))
    session.train_only(config.trainable, policy)
    evaluator = make_evaluator(session, config.task, config.seed, codec, temperature=1.0)
    optimizer = Optimizer(policy.parameters(), config.optimizer, config.lr, config.schedule, steps)
    checkpoints = checkpoint_steps(steps, config.checkpoint_every)
    trainer = TrainerState(policy, optimizer, stream, evaluator)
    with session.start(trainer, steps, checkpoints, split=evaluator.split) as run:
        for step in run.steps_left():
            batch = next(trainer.stream)
            loss = run.budget.within(partial(descend, policy, batch, config.loss_on_prompt), optimizer.discard)
            lr, norm = optimizer.lr_at(step), optimizer.step(step, config.grad_clip)
            run.log(step, {"loss": loss, "lr": lr, "grad_norm": float(norm)}, tokens_in(batch))
            if step in checkpoints:
                run.evaluate(evaluator, policy, step)
            run.keep(step)


def _initial_policy(config: SFT, session: Session) -> Policy:
    if isinstance(config.model, Pretrained):
        return session.parents.policy("model", config.model.path)
    policy = config.model.build(config.task.vocabulary(), config.seed, session.device, config.compute.bf16)
    session.parents.prepare(policy)
    return policy


def descend(policy: Policy, trees: list[Tree], on_prompt: bool, token_budget: int) -> float:
    """Gather the gradient of the mean cross-entropy over the batch's target tokens; returns that mean."""
    targets = sum(len(t.completions[0]) + (len(t.prompt) - 1) * on_prompt for t in trees)
    total, own = torch.zeros(()), ranks.share(trees)
    for batch in micro_batches(own, token_budget):
        packed = pack([own[i] for i in batch], policy.device, prompt_targets=on_prompt)
        loss = -target_logps(policy, policy.hidden(packed), packed, 1.0).sum() / targets
        loss.backward()
        total += loss.detach().cpu()
    return ranks.total(float(total))
