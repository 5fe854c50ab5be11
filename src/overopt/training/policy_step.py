"""The update of a policy on one step's rollouts: epochs, minibatches of whole prompts, micro-batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from overopt.engine import ranks
from overopt.engine.head import ChunkedLogits, FrozenLogits, frozen_logits, target_logps
from overopt.engine.memory import TokenBudget
from overopt.engine.optimizer import Optimizer
from overopt.engine.packing import Tree, micro_batches, pack, row_ranges
from overopt.models.policy import Policy
from overopt.objectives.policy_losses import PolicyLoss
from overopt.objectives.regularizers import LossRegularizer
from overopt.training.data import random_stream
from overopt.training.probes import MicroBatchResult, UpdateStatistics
from overopt.training.rollout import Experience
from overopt.training.shaping import loss_regularizer_names
from overopt.types import PolicyUpdate


def needs(loss: Any, regularizers: Sequence[Any]) -> frozenset[str]:
    """What the loss and the regularizers in it ask for beyond the policy's own log-probabilities."""
    return frozenset().union(loss.needs, *(r.needs for r in regularizers))


@dataclass(frozen=True)
class PolicyStep:
    """Updates the policy on the rollouts of one step."""

    policy: Policy
    reference: Policy
    optimizer: Optimizer
    loss: PolicyLoss
    regularizers: Sequence[LossRegularizer]
    """Regularizers in the loss."""
    epochs: int
    minibatches: int
    grad_clip: float | None
    seed: int

    def __call__(
        self, experience: Experience, advantage_B: Tensor, coefs: Sequence[float], step: int, budget: TokenBudget
    ) -> UpdateStatistics:
        """Make the epochs over the rollouts, an optimizer step for each minibatch; `coefs` are the regularizers'."""
        statistics = UpdateStatistics()
        old, ref = budget.without_gradient(partial(self._frozen_logits, experience.trees))
        batch = _Batch(self, experience, advantage_B, coefs, old, ref)
        for epoch in range(self.epochs):
            stream = random_stream(self.seed, f"minibatches {step - 1} {epoch}")  # named by the steps made before
            order = stream.permutation(len(experience.trees))
            size = len(order) // self.minibatches
            for start in range(0, len(order), size):
                chosen = sorted(order[start : start + size].tolist())  # sorted: one minibatch is the batch as it is
                first = epoch == 0 and start == 0
                own = budget.within(partial(batch.descend, chosen), self.optimizer.discard)
                for measured in ranks.concatenated(own):
                    statistics.add(measured, first=first)
                statistics.grad_norms.append(float(self.optimizer.step(step, self.grad_clip)))
        return statistics

    def _frozen_logits(
        self, trees: Sequence[Tree], token_budget: int
    ) -> tuple[FrozenLogits | None, FrozenLogits | None]:
        """The logits of the policy that sampled, and of the reference, at every token, if the losses ask for them."""
        asked = needs(self.loss, self.regularizers)
        old = ref = None
        if "old_logits" in asked:
            old = frozen_logits(self.policy, self.policy.frozen_head(), trees, token_budget)
        if "ref_logits" in asked:
            ref = frozen_logits(self.reference, self.reference.logits, trees, token_budget)
        return old, ref


@dataclass(frozen=True)
class _Batch:
    """The rollouts of one step, and everything that its losses ask for."""

    step: PolicyStep
    experience: Experience
    advantage_B: Tensor
    coefs: Sequence[float]
    old: FrozenLogits | None
    ref: FrozenLogits | None

    def descend(self, chosen: Sequence[int], token_budget: int) -> list[MicroBatchResult]:
        """Gather the gradient of the mean loss over the rows of some prompts, as far as they are this process's share.

        Returns what was measured, by micro-batch.
        """
        lengths = [len(completion) for i in chosen for completion in self.experience.trees[i].completions]
        mean_len, own = sum(lengths) / len(lengths), ranks.share(chosen)
        measured = [
            self._descend([own[i] for i in batch], len(lengths), mean_len)
            for batch in micro_batches([self.experience.trees[i] for i in own], token_budget)
        ]
        return [result.on_cpu() for result in measured] if ranks.several() else measured

    def _descend(self, members: list[int], total_rows: int, mean_len: float) -> MicroBatchResult:
        """Gather the gradient of a micro-batch; its minibatch has `total_rows` rows of `mean_len` tokens on average."""
        loss, regularizers = self.step.loss, self.step.regularizers
        update = self._update(members, mean_len)
        loss_B, parts = loss(update), {}
        for name, regularizer, coef in zip(loss_regularizer_names(regularizers), regularizers, self.coefs, strict=True):
            part_B = regularizer(update, coef)
            loss_B, parts[name] = loss_B + part_B, float(part_B.detach().sum())
        if self.experience.weight_B is not None:
            loss_B = loss_B * self.experience.weight_B[self._rows(members)]
        (loss_B.sum() / total_rows).backward()
        clipped_B = loss.clipped(update)
        return MicroBatchResult(
            update.logp_BT.detach(), update.old_logp_BT, loss_B.detach(), clipped_B, total_rows, parts
        )

    def _rows(self, members: Sequence[int]) -> list[int]:
        """The rows of some prompts."""
        rows_of = row_ranges(self.experience.trees)
        return [row for i in members for row in rows_of[i]]

    def _update(self, members: list[int], mean_len: float) -> PolicyUpdate:
        """The input of the losses for the rows of some prompts."""
        policy, rollouts = self.step.policy, self.experience.rollouts
        rows = self._rows(members)
        packed = pack([self.experience.trees[i] for i in members], policy.device)
        hidden = policy.hidden(packed)
        logits = None
        if "logits" in needs(self.step.loss, self.step.regularizers):
            old, ref = (None if kept is None else kept.at(members) for kept in (self.old, self.ref))
            logits = ChunkedLogits(policy, hidden, packed, rollouts.temperature, old, ref)
        return PolicyUpdate(
            logp_BT=packed.spread(target_logps(policy, hidden, packed, rollouts.temperature)),
            old_logp_BT=rollouts.logp_BT[rows, : packed.width],
            mask_BT=packed.mask_BT,
            advantage_B=self.advantage_B[rows],
            ref_logp_BT=None if rollouts.ref_logp_BT is None else rollouts.ref_logp_BT[rows, : packed.width],
            logits=logits,
            mean_len=mean_len,
            max_len=rollouts.max_len,
        )
