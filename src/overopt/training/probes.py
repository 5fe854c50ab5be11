"""Metrics of a training step. Log-probabilities are nats, summed over a sequence unless a name says otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from overopt.config import block
from overopt.engine.head import logps_of_trees
from overopt.engine.packing import Tree
from overopt.engine.sampler import Samples
from overopt.models.policy import Policy
from overopt.objectives.kl import consecutive_kl, k2
from overopt.objectives.pair_losses import PairLosses
from overopt.objectives.ranking_losses import RankingLosses
from overopt.types import PreferenceScores, Rollouts

Metrics = dict[str, float]
THINNED = 4
"""Steps between measurements that cost a pass of their own, where neither the user nor the task says how many."""


@block
class Probes:
    """How often the KL between consecutive policies (`kl_prev`) is measured, which takes a forward pass of its own.

    That pass is about a tenth of a step. It is made at every `every`-th step and at the first.
    """

    every: Annotated[int, Field(gt=0)] | None = None
    """null: at each step of the miniature, at every fourth elsewhere."""

    def interval(self, cheap: bool) -> int:
        """Steps between measurements; `cheap`: the task says that a pass more does not matter."""
        return self.every or (1 if cheap else THINNED)

    def due(self, step: int, cheap: bool) -> bool:
        """Whether this step, counted from 1, is measured."""
        return step == 1 or step % self.interval(cheap) == 0


def rollout_metrics(rollouts: Rollouts, samples: Samples, bonus_B: Tensor, scored: bool = True) -> Metrics:
    """Means over a batch of rollouts; nats, at the sampling temperature. Without anything that scores, no scores."""
    assert samples.entropy_BT is not None  # measured by whoever collected them
    surprisal_B, length_B = -rollouts.sequence_logp_B, rollouts.length_B
    metrics = {"score_mean": rollouts.score_B.mean(), "score_sd": rollouts.score_B.std()} if scored else {}
    metrics |= {
        "bonus_mean": bonus_B.mean(),
        "rlhf_reward": (rollouts.score_B + bonus_B).mean(),
        "neg_logp_sum": surprisal_B.mean(),
        "neg_logp_tok": (surprisal_B / length_B).mean(),
        "entropy_tok": samples.entropy_BT.sum() / length_B.sum(),
        "eos_rate": samples.ended_B.float().mean(),
        "len_mean": length_B.float().mean(),
    }
    if rollouts.ref_logp_BT is not None:
        metrics["kl_ref"] = rollouts.sequence_kl_B.mean()
    if rollouts.gold_B is not None:
        metrics["gold_mean"] = rollouts.gold_B.mean()
    return {name: float(value) for name, value in metrics.items()}


def consecutive(policy: Policy, trees: Sequence[Tree], rollouts: Rollouts, token_budget: int) -> Metrics:
    """KL between the policy after and before an update, both directions, on that update's rollouts.

    Costs one forward pass over the batch.
    """
    new = logps_of_trees(policy, trees, rollouts.temperature, token_budget)
    forward, backward = consecutive_kl(new.logp_BT.sum(1), rollouts.sequence_logp_B)
    return {"kl_prev": float(forward), "kl_prev_reverse": float(backward)}


@dataclass(frozen=True)
class MicroBatchResult:
    """A micro-batch of an update, detached."""

    logp_BT: Tensor
    """Log-probabilities under the current weights, before this minibatch's optimizer step."""
    old_logp_BT: Tensor
    """Log-probabilities under the policy that sampled."""
    loss_B: Tensor
    clipped_B: Tensor | None
    """Which rows were clipped, where the loss clips."""
    rows: int
    """Rows of the whole minibatch."""
    parts: Mapping[str, float] = field(default_factory=dict)
    """Sums over these rows of the regularizers in the loss, by name."""

    def on_cpu(self) -> MicroBatchResult:
        """The same, to be sent to other processes."""
        return replace(
            self,
            logp_BT=self.logp_BT.cpu(),
            old_logp_BT=self.old_logp_BT.cpu(),
            loss_B=self.loss_B.cpu(),
            clipped_B=None if self.clipped_B is None else self.clipped_B.cpu(),
        )


@dataclass
class UpdateStatistics:
    """Gathers the ratios of every minibatch of a step; a batch's statistics are means over its rows."""

    losses: list[float] = field(default_factory=list)
    log_ratios: list[Tensor] = field(default_factory=list)
    clipped: list[Tensor] = field(default_factory=list)
    grad_norms: list[float] = field(default_factory=list)
    sampler_gap: float = 0.0
    parts: dict[str, float] = field(default_factory=dict)

    def add(self, measured: MicroBatchResult, *, first: bool) -> None:
        """One micro-batch. `first`: no update was made yet, so that new and old log-probabilities should agree."""
        self.log_ratios.append(measured.logp_BT.sum(1) - measured.old_logp_BT.sum(1))
        self.losses.append(float(measured.loss_B.sum()) / measured.rows)
        for name, part in measured.parts.items():
            self.parts[name] = self.parts.get(name, 0.0) + part / measured.rows
        if measured.clipped_B is not None:
            self.clipped.append(measured.clipped_B)
        if first:
            gap = float((measured.logp_BT - measured.old_logp_BT).abs().max())
            self.sampler_gap = max(self.sampler_gap, gap)

    def metrics(self) -> Metrics:
        log_ratio, ratio = torch.cat(self.log_ratios), torch.cat(self.log_ratios).exp()
        metrics = {
            "loss": sum(self.losses) / len(self.grad_norms),
            "grad_norm": sum(self.grad_norms) / len(self.grad_norms),
            "approxkl": float(k2(log_ratio).mean()),
            "ratio_mean": float(ratio.mean()),
            "ratio_var": float(ratio.var(correction=0)),
            "sampler_gap": self.sampler_gap,
        }
        metrics |= {name: part / len(self.grad_norms) for name, part in self.parts.items()}
        if self.clipped:
            metrics["clipfrac"] = float(torch.cat(self.clipped).float().mean())
        return metrics


def numbered(names: Sequence[str]) -> list[str]:
    """The names, those that are not the first of their kind with a number: `kl`, `kl#2`."""
    return [name if n == 1 else f"{name}#{n}" for i, name in enumerate(names) if (n := names[: i + 1].count(name))]


def in_order(gap: Tensor) -> Tensor:
    """1 where the better completion is ahead, 0 where it is behind, and 1/2 for a tie, as for a coin."""
    return (gap > 0).to(gap.dtype) + 0.5 * (gap == 0)


def pair_metrics(
    scores: PreferenceScores, loss: PairLosses | RankingLosses, loss_P: Tensor, logits: tuple[float, float]
) -> Metrics:
    """A batch of pairs, or of the best and the worst of rankings.

    Loss, implicit rewards, log-probabilities as sums and as means per token, reference margin.
    """
    chosen, rejected = scores.chosen, scores.rejected
    chosen_P, rejected_P = loss.reward(scores)
    metrics = {
        "loss": loss_P.mean(),
        "rewards_chosen": chosen_P.mean(),
        "rewards_rejected": rejected_P.mean(),
        "rewards_acc": in_order(chosen_P - rejected_P).mean(),
        "rewards_margin": (chosen_P - rejected_P).mean(),
        "logps_chosen_sum": chosen.logp_P.mean(),
        "logps_chosen_mean": chosen.mean_logp_P.mean(),
        "logps_rejected_sum": rejected.logp_P.mean(),
        "logps_rejected_mean": rejected.mean_logp_P.mean(),
    }
    if chosen.ref_logp_PT is not None and rejected.ref_logp_PT is not None:
        margin_P = chosen.ref_logp_P - rejected.ref_logp_P
        low, high = torch.quantile(margin_P.float(), margin_P.new_tensor([0.25, 0.75], dtype=torch.float32))
        metrics |= {"ref_margin": margin_P.mean(), "ref_margin_sd": margin_P.std(correction=0)}
        metrics["ref_margin_iqr"] = high - low
    values = {name: float(value.detach()) for name, value in metrics.items()}
    return values | {"logits_chosen": logits[0], "logits_rejected": logits[1]}
