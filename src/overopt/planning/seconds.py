"""The seconds of a stage: measured on this machine, or computed from a GPU's data sheet."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch

from overopt.engine.devices import Device
from overopt.engine.head import logps_of_trees, target_logps
from overopt.engine.packing import Tree, micro_batches, pack
from overopt.engine.sampler import DrawKey, sample
from overopt.models.load import random_policy
from overopt.models.policy import Policy
from overopt.planning.work import Shape, Trees, Work

UTILIZATION = 0.35
"""Share of a GPU's peak that the passes of training reach; 30 to 50 percent is usual for dense transformers."""
MEASURED_TOKENS = 4096
"""Tokens of the passes that are measured, and of the prompts that sampling is measured on."""
MEASURED_ROWS, FEW = 256, 12
"""Most completions of the sampling that is measured, and the tokens written of each."""

CLOCK: Callable[[], float] = time.perf_counter


@dataclass(frozen=True)
class Seconds:
    """The seconds of a step, and those of a whole stage outside its steps, by part."""

    step: dict[str, float]
    outside: dict[str, float]


def seconds_of(work: Work, speed: DataSheetSpeed | MeasuredSpeed) -> Seconds:
    """The sum of a stage's parts; a speed tells the seconds of each."""
    evaluation = sum(speed.forward(trees) for trees in work.evaluation_passes)
    if work.answers is not None:
        evaluation += work.answered * speed.sampling(work.answers)
    step = {
        "sampling": sum(speed.sampling(trees) for trees in work.samplings),
        "passes": sum(times * speed.forward(trees) for times, trees in work.passes if times),
        "updates": work.updates * speed.update(work.batch),
        "optimizer": work.optimizer_steps * speed.optimizer,
    }
    outside = {
        "evaluations": work.evaluations * evaluation,
        "pairs": 0.0 if work.pairs is None else speed.sampling(work.pairs),
        "passes over all pairs": sum(speed.forward(trees) for trees in work.first),
    }
    return Seconds(step, {name: seconds for name, seconds in outside.items() if seconds})


@dataclass(frozen=True)
class DataSheetSpeed:
    """Seconds on a GPU by its data sheet: passes by arithmetic, decoding by reading the weights once per token."""

    shape: Shape
    device: Device
    bf16: bool
    evaluation_budget: int
    optimizer: float = 0.0
    """Seconds of one optimizer step."""
    recomputes: bool = False
    """Whether the backward pass computes each layer again."""
    backward: float = 2
    """Forward passes that a backward pass costs."""

    def forward(self, trees: Trees) -> float:
        """Seconds of a pass without gradient."""
        return trees.flops(self.shape) / self.device.rate(self.bf16) / UTILIZATION

    def update(self, trees: Trees) -> float:
        """Seconds of a pass with gradient: forward, perhaps once more, and backward."""
        return (1 + self.backward + self.recomputes) * self.forward(trees)

    def sampling(self, trees: Trees) -> float:
        """Seconds of sampling the trees' completions."""
        size = 2 if self.bf16 else 4
        batches = -(-trees.count // prompts_at_a_time(trees, self.evaluation_budget))
        reading = batches * trees.longest[1] * size * self.shape.parameters / (1e9 * self.device.bandwidth)
        return reading / UTILIZATION + self.forward(trees)


def prompts_at_a_time(trees: Trees, budget: int) -> int:
    """How many prompts `sample_in_batches` takes together."""
    prompt, completion = trees.longest
    return max(1, budget // (prompt + completion * trees.group))


@dataclass(frozen=True)
class Decoding:
    """Seconds of decoding: per prompt for its first token, per further token, and per row of such a token."""

    prompt: float
    token: float
    row: float


class MeasuredSpeed:
    """The same on this machine: a model of the same shape with random weights makes a piece of each kind of pass."""

    def __init__(self, stage: Any, config: Any, shape: Shape, work: Work) -> None:
        torch.manual_seed(0)
        self.policy = random_policy(config, stage.compute.resolve(), stage.compute.bf16)
        self.policy.end_ids = frozenset()  # nothing ends early
        if stage.compute.gradient_checkpointing == "layers":
            self.policy.checkpoint_layers()
        stage.trainable.prepare(self.policy, 0)
        self.shape, self.work, self.settings = shape, work, stage.optimizer
        self.budget, self.evaluation_budget = stage.compute.budget, stage.compute.evaluation_budget
        self.known: dict[int, Decoding] = {}

    def forward(self, trees: Trees) -> float:
        return self._forward_rate * trees.flops(self.shape)

    def update(self, trees: Trees) -> float:
        return self._update_rate * trees.flops(self.shape)

    def sampling(self, trees: Trees) -> float:
        """Rows that have ended cost nothing; the rest go on until the longest ends."""
        if trees.group not in self.known:
            self.known[trees.group] = self._decoding(trees)
        speed, limit = self.known[trees.group], max(1, trees.longest[1])
        batches = -(-trees.count // prompts_at_a_time(trees, self.evaluation_budget))
        rows = trees.count * trees.group
        return trees.count * speed.prompt + batches * (limit - 1) * speed.token + rows * trees.completion * speed.row

    @cached_property
    def optimizer(self) -> float:
        assert self._update_rate  # gradients are there
        optimizer = self.settings.build(list(self.policy.parameters()), 0.0)
        optimizer.step()
        return seconds(optimizer.step)

    @cached_property
    def _measured(self) -> tuple[Trees, list[Tree]]:
        batch = self.work.batch
        trees = replace(batch, count=max(1, min(batch.count, round(MEASURED_TOKENS / batch.tree_tokens))))
        return trees, random_trees(trees, self.shape.vocabulary)

    @cached_property
    def _forward_rate(self) -> float:
        """Seconds per FLOP."""
        batch, trees = self._measured

        def run(trees: list[Tree]) -> None:
            logps_of_trees(self.policy, trees, 1.0, self.evaluation_budget)

        run(trees[:1])
        return seconds(lambda: run(trees)) / replace(batch, targets="completions").flops(self.shape)

    @cached_property
    def _update_rate(self) -> float:
        batch, trees = self._measured

        def run(trees: list[Tree]) -> None:
            for members in micro_batches(trees, self.budget):
                descend(self.policy, [trees[i] for i in members], batch)

        run(trees[:1])
        return seconds(lambda: run(trees)) / batch.flops(self.shape)

    def _decoding(self, trees: Trees) -> Decoding:
        """Measured on many rows and on those of one prompt, each to the first token and a few tokens further."""
        most = max(1, min(round(MEASURED_TOKENS / trees.prompt), MEASURED_ROWS // trees.group))
        many, few = min(trees.count, most, prompts_at_a_time(trees, self.evaluation_budget)), min(trees.longest[1], FEW)
        self._sample(trees, 1, few)
        begin, some = self._sample(trees, many, 1), self._sample(trees, many, few)
        further = max(1, few - 1)
        full = max(0.0, some - begin) / further
        if many == 1:
            return Decoding(begin, full, 0.0)
        one_begin, one_some = self._sample(trees, 1, 1), self._sample(trees, 1, few)
        one = min(full, max(0.0, one_some - one_begin) / further)
        row = (full - one) / (trees.group * (many - 1))
        return Decoding(begin / many, one - trees.group * row, row)

    def _sample(self, trees: Trees, prompts: int, tokens: int) -> float:
        made = random_trees(replace(trees, count=prompts), self.shape.vocabulary)
        ids, key = [str(i) for i in range(prompts)], DrawKey(0, "plan", 0)
        return seconds(lambda: sample(self.policy, [t.prompt for t in made], ids, trees.group, 1.0, tokens, key))


def descend(policy: Policy, trees: list[Tree], batch: Trees) -> None:
    """Gather a gradient as a stage would: of log-probabilities, or of what a reward model reads."""
    packed = pack(trees, policy.device, prompt_targets=batch.targets == "all")
    hidden_ND = policy.hidden(packed)
    if batch.targets == "none":
        hidden_ND[packed.last_B].sum().backward()
    else:
        target_logps(policy, hidden_ND, packed, 1.0).sum().backward()


def random_trees(trees: Trees, vocabulary: int) -> list[Tree]:
    """Trees of random tokens, of the mean lengths."""
    generator = torch.Generator().manual_seed(0)

    def tokens(size: float) -> list[int]:
        return torch.randint(vocabulary, (max(1, round(size)),), generator=generator).tolist()

    return [
        Tree(tokens(trees.prompt), [tokens(trees.completion) for _ in range(trees.group)]) for _ in range(trees.count)
    ]


def seconds(work: Callable[[], Any]) -> float:
    """The seconds of one call."""
    began = CLOCK()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return CLOCK() - began
