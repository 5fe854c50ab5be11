"""Offline preference optimization: pairs, loss, update, probe, record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from overopt.config import Location, block
from overopt.engine.compute import Compute
from overopt.engine.head import hidden_states, logps_of_trees, target_logps
from overopt.engine.optimizer import AdamW, Cosine, Optimizer, OptimizerSettings, Schedule
from overopt.engine.packing import Tree, micro_batches, pack, row_ranges
from overopt.models.policy import Policy
from overopt.models.text import Codec
from overopt.objectives.pair_losses import DPO, PairLoss
from overopt.tasks import Miniature, Task
from overopt.training.common import (
    Count,
    Positive,
    Provenance,
    Seed,
    Temperature,
    make_evaluator,
    parent_policy,
    parent_reward_model,
    tokens_in,
)
from overopt.training.data import Limits, batches, checkpoint_steps, encode_pairs, random_stream
from overopt.training.pairs import FromRun, Pairs, PairSampler, Stored
from overopt.training.probes import Metrics, pair_metrics
from overopt.training.session import Session
from overopt.types import PairScores

Logits = tuple[float, float]
HELDOUT_PAIRS = 128
"""Held-out pairs measured at each evaluation."""


@block
class Offline:
    """Preference optimization on fixed pairs. Defaults are the N+ recipe's (Huang et al. 2024)."""

    stage: ClassVar[str] = "offline"

    policy: Location
    """What training starts from: a run or a model folder."""
    reference: Location | None = None
    """What the loss, or only the record, compares with; null: the policy as it starts."""
    reward_model: Location | None = None
    """Scores the evaluations' completions (the proxy); training does not use it."""
    task: Task = Miniature()
    pairs: Pairs = Stored()
    seed: Seed = 0
    loss: PairLoss = DPO()
    lr: Positive = 1e-6
    epochs: Count = 1
    steps: Count | None = None
    """Updates; null: as many as the epochs hold."""
    batch_size: Count = 64
    schedule: Schedule = Cosine()
    optimizer: OptimizerSettings = AdamW()
    grad_clip: Positive | None = None
    temperature: Temperature = 1.0
    """Of the log-probabilities in the loss."""
    evaluation_temperature: Temperature = 0.7
    """Of the samples on which KL to the reference is measured."""
    max_prompt_tokens: Count = 512
    max_completion_tokens: Count = 169
    checkpoint_every: Count | None = None
    """Steps between checkpoints, each evaluated; null: at 10, 25, 50, 75 and 100 percent."""
    compute: Compute = Compute()
    provenance: Provenance = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if "mismatched" in self.loss.needs and self.batch_size < 2:
            name = type(self.loss).__name__
            raise ValueError(f"batch_size: {name} pairs each prompt with another's completion; use 2 or more")
        return self


def train_offline(config: Offline, session: Session) -> None:
    """The whole algorithm, top to bottom."""
    policy, reference = _policies(config, session)
    reward_model = None if config.reward_model is None else parent_reward_model(session, config.reward_model)
    codec = Codec(policy.tokenizer, config.task.prompt_style)
    trees, heldout_trees = _pairs(config, session, policy, codec)
    stream = batches(
        trees, config.batch_size, random_stream(config.seed, "pair order"), "batch_size", session.dropped("pairs")
    )
    steps = config.steps or max(1, config.epochs * (len(trees) // config.batch_size))
    evaluator = make_evaluator(config, session, codec, config.evaluation_temperature, reward_model, reference)
    heldout = _heldout(config, reference, heldout_trees, evaluator.split)
    optimizer = Optimizer(policy.parameters(), config.optimizer, config.lr, config.schedule, steps)
    checkpoints = checkpoint_steps(steps, config.checkpoint_every)
    session.start(steps, split=evaluator.split)
    session.evaluate(evaluator, policy, 0)
    _evaluate_pairs(config, session, policy, heldout, 0)
    for step in range(1, steps + 1):
        batch = next(stream)
        metrics = _descend(config, policy, reference, batch)
        lr = optimizer.lr_at(step - 1)
        norm = optimizer.step(step - 1, config.grad_clip)
        session.log(step, metrics | {"lr": lr, "grad_norm": float(norm)}, tokens_in(batch))
        if step in checkpoints:
            session.save(policy, step)
            session.evaluate(evaluator, policy, step)
            _evaluate_pairs(config, session, policy, heldout, step)


def _policies(config: Offline, session: Session) -> tuple[Policy, Policy]:
    """The policy and the reference, frozen."""
    policy = parent_policy(session, "policy", config.policy)
    if config.reference is None:
        return policy, policy.frozen_copy()
    reference = parent_policy(session, "reference", config.reference)
    reference.freeze()
    return policy, reference


def _pairs(config: Offline, session: Session, policy: Policy, codec: Codec) -> tuple[list[Tree], list[Tree]]:
    """Training and held-out pairs that fit."""
    if isinstance(config.pairs, FromRun):
        session.parent("pairs", config.pairs.path, ("reward_model",))
    limits = Limits(config.max_prompt_tokens, config.max_completion_tokens)
    dropped = session.dropped("pairs")
    sampler = PairSampler(
        config.task, codec, policy, config.seed, config.max_completion_tokens, config.compute.token_budget, dropped
    )
    pairs = config.pairs.collect(sampler)
    heldout = encode_pairs(codec, pairs.heldout[:HELDOUT_PAIRS], limits, session.dropped("held-out pairs"))
    return encode_pairs(codec, pairs.train, limits, dropped), heldout


@dataclass(frozen=True)
class _Heldout:
    """Pairs that no update sees, with what the reference says of them."""

    trees: list[Tree]
    ref_logp_B: Tensor
    split: str


def _heldout(config: Offline, reference: Policy, trees: list[Tree], split: str) -> _Heldout | None:
    """None if there are fewer than two: a batch statistic needs a neighbor."""
    if len(trees) < 2:
        return None
    trees = _with_mismatched(config, trees)
    return _Heldout(trees, _reference_logps(config, reference, trees), split)


def _evaluate_pairs(config: Offline, session: Session, policy: Policy, heldout: _Heldout | None, step: int) -> None:
    """The loss's own view of pairs it was not trained on: accuracy and margin of its implicit reward."""
    if heldout is None:
        return
    with torch.no_grad():
        logp_B, logits = _logps(config, policy, heldout.trees)
        scores = _scores(heldout.trees, logp_B, heldout.ref_logp_B)
        metrics = pair_metrics(scores, config.loss, config.loss(scores), logits)
    row = {"step": step, "split": heldout.split, "judge": "pairs", "n": len(heldout.trees)}
    session.record(row | {"accuracy": metrics["rewards_acc"], "margin": metrics["rewards_margin"]} | metrics)


def _descend(config: Offline, policy: Policy, reference: Policy, batch: list[Tree]) -> Metrics:
    """Gather the gradient of the mean loss over a batch of pairs, and measure it."""
    trees = _with_mismatched(config, batch)
    ref_logp_B = _reference_logps(config, reference, trees)
    if config.loss.separable:
        logp_B, logits = _descend_pairs(config, policy, trees, ref_logp_B)
    else:
        logp_B, logits = _descend_batch(config, policy, trees, ref_logp_B)
    scores = _scores(trees, logp_B, ref_logp_B)
    return pair_metrics(scores, config.loss, config.loss(scores), logits)


def _descend_pairs(config: Offline, policy: Policy, trees: list[Tree], ref_logp_B: Tensor) -> tuple[Tensor, Logits]:
    """A loss of each pair by itself: backward runs micro-batch by micro-batch."""

    def backward(logp_B: Tensor, members: list[int], rows: range) -> None:
        scores = _scores([trees[i] for i in members], logp_B, ref_logp_B[rows.start : rows.stop])
        (config.loss(scores).sum() / len(trees)).backward()

    return _logps(config, policy, trees, backward)


def _descend_batch(config: Offline, policy: Policy, trees: list[Tree], ref_logp_B: Tensor) -> tuple[Tensor, Logits]:
    """A loss with a statistic of the batch: its gradient in the log-probabilities is taken once, then replayed."""
    with torch.no_grad():
        logp_B, logits = _logps(config, policy, trees)
    leaf_B = logp_B.requires_grad_()
    (grad_B,) = torch.autograd.grad(config.loss(_scores(trees, leaf_B, ref_logp_B)).mean(), leaf_B)

    def replay(logp_B: Tensor, members: list[int], rows: range) -> None:
        (logp_B * grad_B[rows.start : rows.stop]).sum().backward()

    _logps(config, policy, trees, replay)
    return logp_B.detach(), logits


def _logps(
    config: Offline,
    policy: Policy,
    trees: list[Tree],
    backward: Callable[[Tensor, list[int], range], None] | None = None,
) -> tuple[Tensor, Logits]:
    """Log-probabilities `[B]` of all completions, and the mean logits of the chosen and of the rejected ones.

    `backward` is handed each micro-batch's log-probabilities with their graph, the trees and the rows they are of.
    """
    rows, logps = row_ranges(trees), []
    logit_sums, tokens = torch.zeros(len(trees[0].completions)), torch.zeros(len(trees[0].completions))
    for members in micro_batches(trees, config.compute.token_budget):
        packed = pack([trees[i] for i in members], policy.pad_id, policy.device)
        hidden = hidden_states(policy, packed)
        logp_B = packed.spread(target_logps(policy, hidden, packed, config.temperature)).sum(1)
        if backward is not None:
            backward(logp_B, members, range(rows[members[0]].start, rows[members[-1]].stop))
        logps.append(logp_B.detach())
        with torch.no_grad():
            side_M = (packed.row_M % len(logit_sums)).cpu()
            logit_sums.index_add_(0, side_M, policy.mean_logit(hidden.detach()[packed.source_M]).cpu())
            tokens += torch.bincount(side_M, minlength=len(tokens))
    means = (logit_sums / tokens.clamp(min=1)).tolist()
    return torch.cat(logps), (means[0], means[1])


@torch.no_grad()
def _reference_logps(config: Offline, reference: Policy, trees: list[Tree]) -> Tensor:
    return logps_of_trees(reference, trees, config.temperature, config.compute.evaluation_budget).logp_BT.sum(1)


def _with_mismatched(config: Offline, trees: list[Tree]) -> list[Tree]:
    """If the loss asks for it, each pair with a third completion: its neighbor's chosen one."""
    if "mismatched" not in config.loss.needs:
        return trees
    neighbors = trees[1:] + trees[:1]
    return [Tree(t.prompt, [*t.completions, n.completions[0]]) for t, n in zip(trees, neighbors, strict=True)]


def _scores(trees: list[Tree], logp_B: Tensor, ref_logp_B: Tensor) -> PairScores:
    """Rows of pairs (and, if there is one, a mismatched third) as the loss names them."""
    columns, ref = logp_B.view(len(trees), -1).unbind(1), ref_logp_B.view(len(trees), -1).unbind(1)
    lengths = logp_B.new_tensor([[len(c) for c in tree.completions] for tree in trees])
    mismatched = len(columns) > 2
    return PairScores(
        chosen_logp_P=columns[0],
        rejected_logp_P=columns[1],
        chosen_len_P=lengths[:, 0],
        rejected_len_P=lengths[:, 1],
        ref_chosen_logp_P=ref[0],
        ref_rejected_logp_P=ref[1],
        mismatched_logp_P=columns[2] if mismatched else None,
        ref_mismatched_logp_P=ref[2] if mismatched else None,
    )
