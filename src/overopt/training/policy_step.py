"""The update of a policy on one batch of rollouts: epochs, minibatches of whole prompts, micro-batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor

from overopt.config import name_of
from overopt.engine.head import ChunkedLogits, FrozenLogits, frozen_logits, hidden_states, target_logps
from overopt.engine.optimizer import Optimizer
from overopt.engine.packing import micro_batches, pack, row_ranges
from overopt.training.data import random_stream
from overopt.training.probes import UpdateStatistics
from overopt.types import PolicyUpdate

if TYPE_CHECKING:
    from overopt.training.rollout import Actors, Experience
    from overopt.training.stages.online import Online


class WithinMemory(Protocol):
    """Runs work that takes the configuration, undone and repeated with a smaller token budget where memory ran out."""

    def __call__(self, work: Callable[[Any], Any], undo: Callable[[], None]) -> Any: ...


def update_policy(
    config: Online,
    actors: Actors,
    optimizer: Optimizer,
    experience: Experience,
    coefs: Sequence[float],
    step: int,
    within_memory: WithinMemory | None = None,
) -> UpdateStatistics:
    """Epochs over the rollouts, an optimizer step for each minibatch. `coefs` are of the regularizers in the loss."""
    statistics = UpdateStatistics()
    batch = _Batch(config, actors, experience, coefs, *_kept(config, actors, experience))
    for epoch in range(config.epochs):
        order = random_stream(config.seed, f"minibatches {step} {epoch}").permutation(len(experience.trees))
        size = len(order) // config.minibatches
        for start in range(0, len(order), size):
            chosen = sorted(order[start : start + size].tolist())  # sorted: one minibatch is the batch as it is
            first = epoch == 0 and start == 0
            if within_memory is None:
                measured = batch.descend(chosen, config)
            else:
                measured = within_memory(partial(batch.descend, chosen), optimizer.discard)
            for row in measured:
                statistics.add(*row, first=first)
            statistics.grad_norms.append(float(optimizer.step(step, config.grad_clip)))
    return statistics


def needs(config: Online) -> frozenset[str]:
    """What the loss and the regularizers in it ask for beyond the policy's own log-probabilities."""
    return frozenset().union(config.loss.needs, *(r.needs for r in config.loss_regularizers))


def regularizer_names(config: Online) -> list[str]:
    """A name in the record for each regularizer in the loss: its own, numbered from the second of a kind on."""
    names: list[str] = []
    for regularizer in config.loss_regularizers:
        name = f"loss/{name_of(type(regularizer))}"
        count = sum(other.partition("#")[0] == name for other in names)
        names.append(f"{name}#{count + 1}" if count else name)
    return names


def _kept(config: Online, actors: Actors, experience: Experience) -> tuple[FrozenLogits | None, FrozenLogits | None]:
    """What the policy that sampled, and the reference, said at every token, if the losses ask for it."""
    asked, budget = needs(config), config.compute.evaluation_budget
    old = ref = None
    if "old_logits" in asked:
        old = frozen_logits(actors.policy, actors.policy.frozen_head(), experience.trees, budget)
    if "ref_logits" in asked:
        ref = frozen_logits(actors.reference, actors.reference.logits, experience.trees, budget)
    return old, ref


Measured = tuple[PolicyUpdate, Tensor, Tensor | None, int, dict[str, float]]
"""A micro-batch: what the loss saw, its values by row, which were clipped, the minibatch's rows, regularizers' sums."""


@dataclass(frozen=True)
class _Batch:
    """One batch of rollouts, and everything its losses ask for."""

    config: Online
    actors: Actors
    experience: Experience
    coefs: Sequence[float]
    old: FrozenLogits | None
    ref: FrozenLogits | None

    def descend(self, chosen: list[int], config: Online) -> list[Measured]:
        """Gather the gradient of the mean loss over the rows of some prompts; what was measured, by micro-batch."""
        names, measured = regularizer_names(config), []
        rows_of = row_ranges(self.experience.trees)
        trees = [self.experience.trees[i] for i in chosen]
        total_rows = sum(len(tree.completions) for tree in trees)
        mean_len = sum(len(c) for tree in trees for c in tree.completions) / total_rows
        for batch in micro_batches(trees, config.compute.budget):
            members = [chosen[i] for i in batch]
            update = self._update(members, [row for i in members for row in rows_of[i]], mean_len)
            loss_B = config.loss(update)
            parts = {}
            for name, regularizer, coef in zip(names, config.loss_regularizers, self.coefs, strict=True):
                part_B = regularizer(update, coef)
                loss_B, parts[name] = loss_B + part_B, float(part_B.detach().sum())
            (loss_B.sum() / total_rows).backward()
            clipped_B = config.loss.clipped(update)
            update.logp_BT, update.logits = update.logp_BT.detach(), None  # its graph is spent: let it go
            measured.append((update, loss_B.detach(), clipped_B, total_rows, parts))
        return measured

    def _update(self, members: list[int], rows: list[int], mean_len: float) -> PolicyUpdate:
        policy, rollouts = self.actors.policy, self.experience.rollouts
        packed = pack([self.experience.trees[i] for i in members], policy.device)
        hidden = hidden_states(policy, packed)
        temperature = self.config.temperature
        update = PolicyUpdate(
            logp_BT=packed.spread(target_logps(policy, hidden, packed, temperature)),
            old_logp_BT=rollouts.logp_BT[rows, : packed.width],
            mask_BT=packed.mask_BT,
            advantage_B=self.experience.advantage_B[rows],
            ref_logp_BT=None if rollouts.ref_logp_BT is None else rollouts.ref_logp_BT[rows, : packed.width],
            mean_len=mean_len,
            max_len=self.config.max_completion_tokens,
        )
        if "logits" in needs(self.config):
            old, ref = (None if kept is None else kept.at(members) for kept in (self.old, self.ref))
            update.logits = ChunkedLogits(policy, hidden, packed, temperature, old, ref)
        return update
