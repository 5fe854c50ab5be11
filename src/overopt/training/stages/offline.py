"""Offline preference optimization: pairs or rankings, loss, update, probe, record."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, NamedTuple, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from overopt.config import Choice, Location, block
from overopt.engine.compute import Compute
from overopt.engine.head import ChunkedLogits, TreeLogps, hidden_states, logps_of_trees, target_logps
from overopt.engine.optimizer import AdamW, CosineDecay, Optimizer, OptimizerSettings, Schedule
from overopt.engine.packing import Packed, Tree, micro_batches, pack, row_ranges
from overopt.integrations import Sink
from overopt.models.policy import Policy
from overopt.models.text import Codec
from overopt.objectives.pair_losses import DPO, PairLosses
from overopt.objectives.ranking_losses import RankingLosses
from overopt.objectives.state import State, call, initial_state
from overopt.records.layout import REFERENCE_LOGPS
from overopt.stopping import StopCondition
from overopt.tasks import Miniature, Task
from overopt.training.data import (
    Limits,
    batches,
    checkpoint_steps,
    common_size,
    encode_views,
    of_size,
    random_stream,
)
from overopt.training.fields import Count, Keep, Positive, Provenance, Seed, Temperature
from overopt.training.loop import make_evaluator, parent_policy, parent_reference, parent_scorer, tokens_in
from overopt.training.pairs import FromRun, Pairs, PairSampler, Stored, check_takes
from overopt.training.probes import Metrics, pair_metrics
from overopt.training.reference_logps import Item, ask_reference, known_logps
from overopt.training.run.session import Session
from overopt.training.run.trainer_state import Moving
from overopt.types import Dropped, LogitSource, Preference, PreferenceScores, Scored

PreferenceLoss = Annotated[PairLosses | RankingLosses, Choice()]
Logits = tuple[float, float]
"""Mean logits of the best and of the worst completions."""
HELDOUT_PAIRS = 128
"""Held-out pairs measured at each evaluation."""


@block
class Offline:
    """Preference optimization on fixed pairs or rankings. Defaults are the N+ recipe's (Huang et al. 2024)."""

    stage: ClassVar[str] = "offline"

    policy: Location
    """What training starts from: a run or a model folder."""
    reference: Location | None = None
    """What the loss compares with; null: the policy as it starts. It is asked once for each pair, before the first
    step. A loss that needs none spares that pass, and its steps the record of `ref_margin`, unless this is set or the
    task is the miniature; held-out pairs are always compared."""
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
    """Of the log-probabilities in the loss."""
    evaluation_temperature: Temperature = 0.7
    """Of the samples on which KL to the reference is measured."""
    max_prompt_tokens: Count = 512
    max_completion_tokens: Count = 169
    checkpoint_every: Count | None = None
    """Steps between checkpoints, each evaluated; null: at 10, 25, 50, 75 and 100 percent."""
    keep: Keep = "every"
    """Which checkpoints stay; best: by win rate."""
    stop_when: list[StopCondition] = Field(default_factory=list)
    """Conditions that end the run in time."""
    sinks: list[Sink] = Field(default_factory=list)
    """Where else its numbers go; no part of what the run is, so its record does not name them."""
    compute: Compute = Compute()
    provenance: Provenance = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if "mismatched" in self.loss.needs and self.batch_size < 2:
            name = type(self.loss).__name__
            raise ValueError(f"batch_size: {name} pairs each prompt with another's completion; use 2 or more")
        if self.loss.separable and (hasattr(self.loss, "init") or hasattr(self.loss, "prompts")):
            raise ValueError("loss: one that remembers or that has prompts of its own must say separable = False")
        if "logits" in self.loss.needs and not self.loss.separable:
            raise ValueError("loss: one that needs logits must be separable; those of a whole batch are too many")
        return self


def train_offline(config: Offline, session: Session) -> None:
    """The whole algorithm, top to bottom."""
    policy, reference = _policies(config, session)
    codec = Codec.of(policy, config.task.prompt_style, session.clock)
    scorer = None if config.reward_model is None else parent_scorer(session, config.reward_model, codec)
    items, heldout_items = _items(config, session, policy, codec)
    steps = config.steps or max(1, config.epochs * (len(items) // config.batch_size))
    order = random_stream(config.seed, "pair order")
    stream = batches(range(len(items)), config.batch_size, order, "batch_size", session.dropped("pairs"))
    chosen = list(itertools.islice(stream, steps))
    evaluator = make_evaluator(config, session, codec, config.evaluation_temperature, scorer, reference)
    heldout = _batch(config, reference, heldout_items) if len(heldout_items) >= 2 else None
    optimizer = Optimizer(policy.parameters(), config.optimizer, config.lr, config.schedule, steps)
    checkpoints = checkpoint_steps(steps, config.checkpoint_every)
    state = initial_state(config.loss)
    session.start(steps, split=evaluator.split)
    compared = reference if _compares(config) else None
    if compared is not None and "mismatched" not in config.loss.needs:
        used = [items[i] for i in sorted({i for batch in chosen for i in batch})]
        file = session.out / REFERENCE_LOGPS
        session.within_memory(lambda c: ask_reference(compared, used, c.temperature, c.compute.evaluation_budget, file))
    moving = Moving(policy, optimizer, iter(chosen), evaluator)
    session.restore(moving, checkpoints)
    if session.resumed:
        state = moving.objectives
    else:
        session.evaluate(evaluator, policy, 0)
        _evaluate_pairs(config, session, policy, heldout, state, evaluator.split, 0)
        session.keep(0, state)
    for step in session.steps_left():
        batch = [items[i] for i in next(moving.stream)]
        _, state = make_step(config, policy, compared, optimizer, session, batch, state, step)
        if step in checkpoints:
            session.evaluate(evaluator, policy, step)
            _evaluate_pairs(config, session, policy, heldout, state, evaluator.split, step)
        session.keep(step, state)


def make_step(
    config: Offline,
    policy: Policy,
    reference: Policy | None,
    optimizer: Optimizer,
    session: Session,
    batch: list[Item],
    state: State,
    step: int,
) -> tuple[Metrics, State]:
    """One step from a batch to its record; the metrics, and the loss's state after it.

    `reference`, where the loss or the record compares with one, is asked for items that do not hold its answer.
    """

    def descend(config: Offline) -> tuple[Metrics, State]:
        return _descend(config, policy, _batch(config, reference, batch), state)

    metrics, state = session.within_memory(descend, optimizer.discard)
    lr = optimizer.lr_at(step - 1)
    norm = optimizer.step(step - 1, config.grad_clip)
    tokens = tokens_in([tree for item in batch for tree in item.views])
    session.log(step, metrics | {"lr": lr, "grad_norm": float(norm)}, tokens)
    return metrics, state


def _compares(config: Offline) -> bool:
    """Whether the loss, or the record of each step, needs the reference."""
    wanted = config.reference is not None or isinstance(config.task, Miniature)
    return wanted or "reference" in config.loss.needs


def _policies(config: Offline, session: Session) -> tuple[Policy, Policy]:
    """The policy and the reference, frozen."""
    policy = parent_policy(session, "policy", config.policy)
    if config.reference is None:
        return policy, policy.frozen_copy()
    return policy, parent_reference(session, config.reference, policy)


def _items(config: Offline, session: Session, policy: Policy, codec: Codec) -> tuple[list[Item], list[Item]]:
    """Training and held-out pairs or rankings that fit, all of one size."""
    if isinstance(config.pairs, FromRun):
        session.parent("pairs", config.pairs.path, ("reward_model",))
    limits = Limits(config.max_prompt_tokens, config.max_completion_tokens)
    dropped, heldout_dropped = session.dropped("pairs"), session.dropped("held-out pairs")
    sampler = PairSampler(
        config.task, codec, policy, config.seed, config.max_completion_tokens, config.compute.budget, dropped
    )
    pairs = config.pairs.collect(sampler)
    size, prompts = common_size(pairs.train), getattr(config.loss, "prompts", [])
    check_takes("loss", config.loss, size, RankingLosses)

    def encoded(records: list[Preference], dropped: Dropped) -> list[Item]:
        views = encode_views(codec, of_size(records, size, dropped), prompts, limits, dropped)
        dropped.kept = len(views)
        return [Item(trees) for trees in views]

    return encoded(pairs.train, dropped), encoded(pairs.heldout[:HELDOUT_PAIRS], heldout_dropped)


@dataclass(frozen=True)
class _Batch:
    """The trees of a batch of P items, and what the reference says of them: no update changes it."""

    trees: list[Tree]
    """The trees of all items under their own prompts, then those under the loss's first other prompt, and so on."""
    views: int
    """How many times P trees these are."""
    ref_logp_BT: Tensor | None
    mean_len: tuple[float, ...]

    @property
    def size(self) -> int:
        """P."""
        return len(self.trees) // self.views


def _batch(config: Offline, reference: Policy | None, items: list[Item]) -> _Batch:
    views = [_with_mismatched(config, list(trees)) for trees in zip(*(item.views for item in items), strict=True)]
    trees = [tree for view in views for tree in view]
    ref_logp_BT = known_logps(items)
    if ref_logp_BT is None and reference is not None:
        ref_logp_BT = logps_of_trees(reference, trees, config.temperature, config.compute.evaluation_budget).logp_BT
    ranks = zip(*(item.views[0].completions for item in items), strict=True)
    mean_len = tuple(sum(map(len, completions)) / len(items) for completions in ranks)
    return _Batch(trees, len(views), ref_logp_BT, mean_len)


def _with_mismatched(config: Offline, trees: list[Tree]) -> list[Tree]:
    """If the loss asks for it, each item with one more completion: its neighbor's best."""
    if "mismatched" not in config.loss.needs:
        return trees
    neighbors = trees[1:] + trees[:1]
    return [Tree(t.prompt, [*t.completions, n.completions[0]]) for t, n in zip(trees, neighbors, strict=True)]


def _evaluate_pairs(
    config: Offline, session: Session, policy: Policy, heldout: _Batch | None, state: State, split: str, step: int
) -> None:
    """The loss's own view of pairs it was not trained on: accuracy and margin of its implicit reward."""
    if heldout is None:
        return
    with torch.no_grad():
        metrics, _ = _look(config, policy, heldout, state, train=False)
    row = {"step": step, "split": split, "judge": "pairs", "n": heldout.size}
    session.record(row | {"accuracy": metrics["rewards_acc"], "margin": metrics["rewards_margin"]} | metrics)


def _descend(config: Offline, policy: Policy, batch: _Batch, state: State) -> tuple[Metrics, State]:
    """Gather the gradient of the mean loss over a batch, and measure it; the loss's state moves on."""
    return _look(config, policy, batch, state, train=True)


def _look(config: Offline, policy: Policy, batch: _Batch, state: State, train: bool) -> tuple[Metrics, State]:
    """Loss and metrics of a batch; with `train` also the gradient of the mean loss."""
    if config.loss.separable:
        rows, loss_P = _look_at_each(config, policy, batch, train)
    else:
        rows, loss_P, state = _look_at_all(config, policy, batch, state, train)
    scores = _scores(config, batch, rows.logps, batch.ref_logp_BT, batch.views)
    return pair_metrics(scores, config.loss, loss_P, rows.logits), state


def _look_at_each(config: Offline, policy: Policy, batch: _Batch, train: bool) -> tuple[_Rows, Tensor]:
    """A loss of each item by itself: backward runs micro-batch by micro-batch."""
    losses = []

    def visit(part: _Part) -> None:
        ref_logp_BT = batch.ref_logp_BT
        if ref_logp_BT is not None:
            ref_logp_BT = ref_logp_BT[part.rows.start : part.rows.stop, : part.packed.width]
        sources = _logit_sources(config, policy, batch, part)
        loss_P, _ = call(config.loss, _scores(config, batch, part.logps, ref_logp_BT, 1, sources), {})
        losses.append(loss_P.detach())
        if train:
            (loss_P.sum() / batch.size).backward()

    rows = _forward(config, policy, batch.trees, visit)
    return rows, torch.cat(losses)


def _look_at_all(
    config: Offline, policy: Policy, batch: _Batch, state: State, train: bool
) -> tuple[_Rows, Tensor, State]:
    """A loss that couples items: its gradient in the tokens' log-probabilities is taken once, then replayed."""
    with torch.no_grad():
        rows = _forward(config, policy, batch.trees)
    leaf_BT = rows.logps.logp_BT.detach().requires_grad_(train)
    scores = _scores(config, batch, TreeLogps(leaf_BT, rows.logps.mask_BT), batch.ref_logp_BT, batch.views)
    loss_P, state = call(config.loss, scores, state)
    if train:
        (grad_BT,) = torch.autograd.grad(loss_P.mean(), leaf_BT)

        def replay(part: _Part) -> None:
            grad = grad_BT[part.rows.start : part.rows.stop, : part.packed.width]
            (part.logps.logp_BT * grad).sum().backward()

        _forward(config, policy, batch.trees, replay)
    return rows, loss_P.detach(), state


class _Part(NamedTuple):
    """A micro-batch: its log-probabilities with their graph, and the rows that they are of."""

    logps: TreeLogps
    packed: Packed
    hidden: Tensor
    rows: range


class _Rows(NamedTuple):
    """All rows of a batch, without graph, and the mean logits of the best and of the worst completions."""

    logps: TreeLogps
    logits: Logits


def _forward(
    config: Offline, policy: Policy, trees: list[Tree], visit: Callable[[_Part], None] = lambda part: None
) -> _Rows:
    """Log-probabilities of all completions, micro-batch by micro-batch; each is visited while its graph lives."""
    rows, width = row_ranges(trees), max(len(c) for tree in trees for c in tree.completions)
    logps, masks, means = [], [], _MeanLogits(len(trees[0].completions), "mismatched" in config.loss.needs)
    for members in micro_batches(trees, config.compute.budget):
        packed = pack([trees[i] for i in members], policy.device)
        hidden = hidden_states(policy, packed)
        logp_BT = packed.spread(target_logps(policy, hidden, packed, config.temperature))
        here = range(rows[members[0]].start, rows[members[-1]].stop)
        visit(_Part(TreeLogps(logp_BT, packed.mask_BT), packed, hidden, here))
        pad = (0, width - packed.width)
        logps.append(F.pad(logp_BT.detach(), pad))
        masks.append(F.pad(packed.mask_BT, pad))
        means.add(policy, hidden.detach(), packed)
    return _Rows(TreeLogps(torch.cat(logps), torch.cat(masks)), means.value())


class _MeanLogits:
    """The mean logit over tokens and vocabulary, for each rank of completions."""

    def __init__(self, completions: int, mismatched: bool) -> None:
        self.sums, self.tokens = torch.zeros(completions), torch.zeros(completions)
        self.worst = completions - 1 - mismatched

    @torch.no_grad()
    def add(self, policy: Policy, hidden: Tensor, packed: Packed) -> None:
        rank_M = (packed.row_M % len(self.sums)).cpu()
        self.sums.index_add_(0, rank_M, policy.mean_logit(hidden[packed.source_M]).cpu())
        self.tokens += torch.bincount(rank_M, minlength=len(self.tokens))

    def value(self) -> Logits:
        means = (self.sums / self.tokens.clamp(min=1)).tolist()
        return means[0], means[self.worst]


def _logit_sources(config: Offline, policy: Policy, batch: _Batch, part: _Part) -> list[LogitSource]:
    """For each rank the logits at its completions' tokens, if the loss asks for them."""
    if "logits" not in config.loss.needs:
        return []
    ranks = len(batch.trees[0].completions)
    sources: list[LogitSource] = []
    for rank in range(ranks):
        at = part.packed.row_M % ranks == rank
        places = {name: getattr(part.packed, name)[at] for name in ("source_M", "token_M", "row_M", "column_M")}
        sources.append(ChunkedLogits(policy, part.hidden, replace(part.packed, **places), config.temperature))
    return sources


def _scores(
    config: Offline,
    batch: _Batch,
    logps: TreeLogps,
    ref_logp_BT: Tensor | None,
    views: int,
    sources: Sequence[LogitSource] = (),
) -> PreferenceScores:
    """Rows of completions, prompt by prompt and view by view, as the loss names them."""
    shape = (views, -1, len(batch.trees[0].completions), logps.logp_BT.shape[1])
    columns = [x.view(shape).unbind(2) for x in (logps.logp_BT, logps.mask_BT)]
    refs = [[None] * views] * shape[2] if ref_logp_BT is None else list(ref_logp_BT.view(shape).unbind(2))
    made = []
    for view in range(views):
        scored = [
            Scored(logp[view], mask[view], ref[view], sources[k] if sources else None)
            for k, (logp, mask, ref) in enumerate(zip(*columns, refs, strict=True))
        ]
        mismatched = scored.pop() if "mismatched" in config.loss.needs else None
        made.append(PreferenceScores(tuple(scored), batch.mean_len, mismatched))
    made[0].views = tuple(made[1:])
    return made[0]
