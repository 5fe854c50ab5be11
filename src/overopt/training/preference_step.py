"""The update of a policy on one batch of pairs or rankings: compare with the reference, loss, micro-batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from overopt.engine import ranks
from overopt.engine.head import ChunkedLogits, TreeLogps, logps_of_trees, target_logps
from overopt.engine.memory import TokenBudget
from overopt.engine.optimizer import Optimizer
from overopt.engine.packing import Packed, Tree, micro_batches, pack, row_ranges
from overopt.models.policy import Policy
from overopt.objectives.ranking_losses import PreferenceLoss
from overopt.objectives.state import State, call
from overopt.training.probes import Metrics, pair_metrics
from overopt.training.reference_logps import Item, known_logps
from overopt.types import CompletionLogps, LogitSource, PreferenceScores

MeanLogits = tuple[float, float]
"""Mean logits of the best and of the worst completions."""


@dataclass(frozen=True)
class PreferenceBatch:
    """The trees of P items, and their log-probabilities under the reference, which no update changes."""

    trees: list[Tree]
    """The trees of all items under their own prompts, then those under the loss's first other prompt, and so on."""
    views: int
    """Prompts that each item is scored under: 1 plus the loss's other prompts; `len(trees) == views * P`."""
    mismatched: bool
    """Whether each tree has one completion more: its neighbor's best."""
    ref_logp_BT: Tensor | None
    mean_len: tuple[float, ...]
    """Mean |y| of each rank."""

    @property
    def size(self) -> int:
        """The number of items, P."""
        return len(self.trees) // self.views

    @property
    def completions(self) -> int:
        """The number of completions of a tree."""
        return len(self.trees[0].completions)

    def scores(
        self, logps: TreeLogps, ref_logp_BT: Tensor | None, views: int, sources: Sequence[LogitSource] = ()
    ) -> PreferenceScores:
        """The loss's input: all rows, view by view and prompt by prompt, or some rows of one view."""
        shape = (views, -1, self.completions, logps.logp_BT.shape[1])
        columns = [x.view(shape).unbind(2) for x in (logps.logp_BT, logps.mask_BT)]
        refs = [[None] * views] * shape[2] if ref_logp_BT is None else list(ref_logp_BT.view(shape).unbind(2))

        def of_view(view: int, others: tuple[PreferenceScores, ...]) -> PreferenceScores:
            scored = [
                CompletionLogps(logp[view], mask[view], ref[view], sources[k] if sources else None)
                for k, (logp, mask, ref) in enumerate(zip(*columns, refs, strict=True))
            ]
            mismatched = scored.pop() if self.mismatched else None
            return PreferenceScores(tuple(scored), self.mean_len, mismatched, others)

        return of_view(0, tuple(of_view(view, ()) for view in range(1, views)))


def preference_batch(
    items: Sequence[Item], mismatched: bool, reference: Policy | None, temperature: float, token_budget: int
) -> PreferenceBatch:
    """The batch of some items; `reference` is asked for those that do not hold its answer."""
    views = [list(trees) for trees in zip(*(item.views for item in items), strict=True)]
    trees = [tree for view in views for tree in (_with_mismatched(view) if mismatched else view)]
    ref_logp_BT = known_logps(items)
    if ref_logp_BT is None and reference is not None:
        ref_logp_BT = logps_of_trees(reference, trees, temperature, token_budget).logp_BT
    ranks = zip(*(item.views[0].completions for item in items), strict=True)
    mean_len = tuple(sum(map(len, completions)) / len(items) for completions in ranks)
    return PreferenceBatch(trees, len(views), mismatched, ref_logp_BT, mean_len)


def _with_mismatched(trees: Sequence[Tree]) -> list[Tree]:
    """Each tree with one more completion: its neighbor's best."""
    neighbors = [*trees[1:], *trees[:1]]
    return [Tree(t.prompt, [*t.completions, n.completions[0]]) for t, n in zip(trees, neighbors, strict=True)]


@dataclass(frozen=True)
class PreferenceStep:
    """Updates the policy on one batch, and measures others."""

    policy: Policy
    reference: Policy | None
    """None: neither the loss nor the record of a step compares with one."""
    optimizer: Optimizer
    loss: PreferenceLoss
    temperature: float
    grad_clip: float | None

    def __call__(self, items: Sequence[Item], state: State, step: int, budget: TokenBudget) -> tuple[Metrics, State]:
        """One optimizer step on a batch; its metrics, and the loss's state after it."""
        batch = budget.without_gradient(partial(self.batch, items, self.reference))
        metrics, state = budget.within(partial(self.descend, batch, state), self.optimizer.discard)
        lr, norm = self.optimizer.lr_at(step), self.optimizer.step(step, self.grad_clip)
        return metrics | {"lr": lr, "grad_norm": float(norm)}, state

    def batch(self, items: Sequence[Item], reference: Policy | None, token_budget: int) -> PreferenceBatch:
        """The batch of some items, as the loss needs it."""
        return preference_batch(items, "mismatched" in self.loss.needs, reference, self.temperature, token_budget)

    def descend(self, batch: PreferenceBatch, state: State, token_budget: int) -> tuple[Metrics, State]:
        """Gather the gradient of the mean loss; the batch's metrics, and the loss's state after it."""
        return self._run(batch, state, token_budget, train=True)

    @torch.no_grad()
    def measure(self, batch: PreferenceBatch, state: State, token_budget: int) -> Metrics:
        """The metrics of a batch, without a gradient."""
        return self._run(batch, state, token_budget, train=False)[0]

    def _run(self, batch: PreferenceBatch, state: State, token_budget: int, train: bool) -> tuple[Metrics, State]:
        if self.loss.separable:
            rows, loss_P = self._each(batch, token_budget, train)
        else:
            rows, loss_P, state = self._together(batch, state, token_budget, train)
        scores = batch.scores(rows.logps, batch.ref_logp_BT, batch.views)
        return pair_metrics(scores, self.loss, loss_P, rows.sums.means(batch.mismatched)), state

    def _each(self, batch: PreferenceBatch, token_budget: int, train: bool) -> tuple[_Rows, Tensor]:
        """A loss of each item by itself: backward runs micro-batch by micro-batch."""
        losses = []

        def visit(part: _Part) -> None:
            ref_logp_BT = batch.ref_logp_BT
            if ref_logp_BT is not None:
                ref_logp_BT = ref_logp_BT[part.rows.start : part.rows.stop, : part.packed.width]
            sources = self._logit_sources(batch.completions, part) if "logits" in self.loss.needs else []
            loss_P, _ = call(self.loss, batch.scores(part.logps, ref_logp_BT, 1, sources), {})
            losses.append(loss_P.detach())
            if train:
                (loss_P.sum() / batch.size).backward()

        rows = self._forward(batch, token_budget, visit).of_all(batch)
        return rows, ranks.gathered_rows(torch.cat([torch.zeros(0, device=self.policy.device), *losses]))

    def _together(
        self, batch: PreferenceBatch, state: State, token_budget: int, train: bool
    ) -> tuple[_Rows, Tensor, State]:
        """A loss that couples items, in two passes.

        The first, without a graph, gives the log-probabilities of the whole batch, and dL/dlogp is taken from them. The
        second, by micro-batches, takes the gradient of sum(logp dL/dlogp), which is the same and fits into memory.
        """
        with torch.no_grad():
            rows = self._forward(batch, token_budget).of_all(batch)
        leaf_BT = rows.logps.logp_BT.detach().requires_grad_(train)
        scores = batch.scores(TreeLogps(leaf_BT, rows.logps.mask_BT), batch.ref_logp_BT, batch.views)
        loss_P, state = call(self.loss, scores, state)
        if train:
            (grad_BT,) = torch.autograd.grad(loss_P.mean(), leaf_BT)

            def replay(part: _Part) -> None:
                grad = grad_BT[part.rows.start : part.rows.stop, : part.packed.width]
                (part.logps.logp_BT * grad).sum().backward()

            self._forward(batch, token_budget, replay)
        return rows, loss_P.detach(), state

    def _forward(
        self, batch: PreferenceBatch, token_budget: int, visit: Callable[[_Part], None] = lambda part: None
    ) -> _Rows:
        """Log-probabilities of the completions that are this process's share, micro-batch by micro-batch.

        Each is visited while its graph lives.
        """
        trees, policy, own = batch.trees, self.policy, ranks.share(range(len(batch.trees)))
        rows, width = row_ranges(trees), max(len(c) for tree in trees for c in tree.completions)
        logps = [torch.zeros(0, width, device=policy.device)]
        masks, means = [logps[0].bool()], _LogitSums(batch.completions)
        for indices in micro_batches([trees[i] for i in own], token_budget):
            members = [own[i] for i in indices]
            packed = pack([trees[i] for i in members], policy.device)
            hidden = policy.hidden(packed)
            logp_BT = packed.spread(target_logps(policy, hidden, packed, self.temperature))
            here = range(rows[members[0]].start, rows[members[-1]].stop)
            visit(_Part(TreeLogps(logp_BT, packed.mask_BT), packed, hidden, here))
            pad = (0, width - packed.width)
            logps.append(F.pad(logp_BT.detach(), pad))
            masks.append(F.pad(packed.mask_BT, pad))
            means.add(policy, hidden.detach(), packed)
        return _Rows(TreeLogps(torch.cat(logps), torch.cat(masks)), means)

    def _logit_sources(self, ranks: int, part: _Part) -> list[LogitSource]:
        """For each rank the logits at its completions' tokens."""
        sources: list[LogitSource] = []
        for rank in range(ranks):
            at = part.packed.row_M % ranks == rank
            places = {name: getattr(part.packed, name)[at] for name in ("source_M", "token_M", "row_M", "column_M")}
            sources.append(ChunkedLogits(self.policy, part.hidden, replace(part.packed, **places), self.temperature))
        return sources


class _Part(NamedTuple):
    """The log-probabilities of a micro-batch, with their graph, and the range of its rows."""

    logps: TreeLogps
    packed: Packed
    hidden: Tensor
    rows: range


class _Rows(NamedTuple):
    """The log-probabilities of rows of a batch, detached: of this process's share, or of all."""

    logps: TreeLogps
    sums: _LogitSums

    def of_all(self, batch: PreferenceBatch) -> _Rows:
        """Those of all rows, from this process's and the others' shares."""
        sums = _LogitSums(batch.completions)
        for tokens, part in ranks.gather((self.sums.tokens, self.sums.sums)):
            sums.tokens, sums.sums = sums.tokens + tokens, sums.sums + part
        return _Rows(TreeLogps(*map(ranks.gathered_rows, self.logps)), sums)


class _LogitSums:
    """Sums up the mean logit over tokens and vocabulary, for each rank of completions."""

    def __init__(self, completions: int) -> None:
        self.sums, self.tokens = torch.zeros(completions), torch.zeros(completions)

    @torch.no_grad()
    def add(self, policy: Policy, hidden: Tensor, packed: Packed) -> None:
        rank_M = (packed.row_M % len(self.sums)).cpu()
        self.sums.index_add_(0, rank_M, policy.mean_logit(hidden[packed.source_M]).cpu())
        self.tokens += torch.bincount(rank_M, minlength=len(self.tokens))

    def means(self, mismatched: bool) -> MeanLogits:
        means = (self.sums / self.tokens.clamp(min=1)).tolist()
        return means[0], means[len(means) - 1 - mismatched]
