"""The reward model: Bradley-Terry on preference pairs. It is the proxy that online training climbs."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from overopt.config import Location, block
from overopt.engine.compute import Compute
from overopt.engine.optimizer import AdamW, Cosine, Optimizer, OptimizerSettings, Schedule
from overopt.engine.packing import Tree, micro_batches, pack
from overopt.errors import UserError
from overopt.models.reward_model import RewardModel
from overopt.models.text import Codec
from overopt.objectives.reward_losses import bradley_terry
from overopt.tasks import Miniature, Task
from overopt.training.common import Count, Positive, Provenance, Seed, parent_policy, tokens_in
from overopt.training.data import Limits, batches, checkpoint_steps, encode_demonstrations, encode_pairs, random_stream
from overopt.training.pairs import Pairs, PairSampler, Sampled, to_row
from overopt.training.session import Session
from overopt.types import Dropped, PreferenceRecord


@block
class RewardModelStage:
    """-log sigma(r(x, y_w) - r(x, y_l)) on pairs. Defaults are the N+ recipe's (Huang et al. 2024)."""

    stage: ClassVar[str] = "reward_model"

    policy: Location
    """The policy whose body it starts from, and which samples the pairs: a run or a model folder."""
    task: Task = Miniature()
    pairs: Pairs = Sampled()
    seed: Seed = 0
    lr: Positive = 3e-6
    epochs: Count = 1
    batch_size: Count = 64
    schedule: Schedule = Cosine()
    optimizer: OptimizerSettings = AdamW(weight_decay=0.01)
    grad_clip: Positive | None = None
    normalization: Literal["center", "standardize", "none"] = "center"
    """center: the task's demonstrations score 0 on average (the recipe); standardize: held-out completions have mean 0
    and standard deviation 1; none: as trained."""
    max_prompt_tokens: Count = 512
    max_completion_tokens: Count = 169
    checkpoint_every: Count | None = None
    """Steps between checkpoints; null: only the last is kept, since scores are normalized at the end."""
    compute: Compute = Compute()
    provenance: Provenance = Field(default_factory=dict)


def train_reward_model(config: RewardModelStage, session: Session) -> None:
    """Draw a batch of pairs, descend the Bradley-Terry loss, record; then normalize."""
    policy = parent_policy(session, "policy", config.policy)
    codec = Codec(policy.tokenizer, config.task.prompt_style)
    limits = Limits(config.max_prompt_tokens, config.max_completion_tokens)
    dropped = session.dropped("pairs")
    split, _ = config.task.evaluation(config.seed, Dropped())
    pairs = config.pairs.collect(_sampler(config, session, policy, codec, dropped))
    train = encode_pairs(codec, pairs.train, limits, dropped)
    stream = batches(train, config.batch_size, random_stream(config.seed, "pair order"), "batch_size", dropped)
    heldout = _Heldout(codec, pairs.heldout, limits, session.dropped("held-out pairs"))
    scale_trees = _normalization_trees(config, codec, heldout)
    steps = max(1, config.epochs * (len(train) // config.batch_size))
    generator = torch.Generator().manual_seed(config.seed)
    reward_model = RewardModel.from_policy(policy, generator)
    optimizer = Optimizer(reward_model.parameters(), config.optimizer, config.lr, config.schedule, steps)
    checkpoints = checkpoint_steps(steps, config.checkpoint_every or steps)
    writer = session.start(steps, split=split)
    if isinstance(config.pairs, Sampled):
        writer.pairs([to_row(r, False) for r in pairs.train] + [to_row(r, True) for r in pairs.heldout])
    budget = config.compute.evaluation_budget
    session.record({"step": 0, "split": split, "judge": "pairs", **heldout.agreement(reward_model, budget)})
    for step in range(1, steps + 1):
        batch = next(stream)
        loss, accuracy = _descend(reward_model, batch, config.compute.token_budget)
        lr = optimizer.lr_at(step - 1)
        norm = optimizer.step(step - 1, config.grad_clip)
        metrics = {"loss": loss, "rewards_acc": accuracy, "lr": lr, "grad_norm": float(norm)}
        session.log(step, metrics, tokens_in(batch))
        if step == steps:
            _normalize(config, reward_model, scale_trees)
        if step in checkpoints:
            session.save(reward_model, step)
            row = heldout.agreement(reward_model, budget)
            session.record({"step": step, "split": split, "judge": "pairs", **row})


def _sampler(config: RewardModelStage, session: Session, policy: Any, codec: Codec, dropped: Dropped) -> PairSampler:
    return PairSampler(
        config.task,
        codec,
        policy,
        config.seed,
        config.max_completion_tokens,
        session.compute.evaluation_budget,
        dropped,
    )


def _descend(reward_model: RewardModel, trees: list[Tree], token_budget: int) -> tuple[float, float]:
    """Gather the gradient of the mean loss over the pairs; returns that mean and the accuracy."""
    total, right = 0.0, 0.0
    for batch in micro_batches(trees, token_budget):
        packed = pack([trees[i] for i in batch], reward_model.pad_id, reward_model.device)
        chosen_P, rejected_P = reward_model.score(packed).view(-1, 2).unbind(1)
        loss = bradley_terry(chosen_P, rejected_P).sum() / len(trees)
        loss.backward()
        total += float(loss.detach())
        right += float((chosen_P > rejected_P).sum())
    return total, right / len(trees)


class _Heldout:
    """Pairs that the reward model is tested on."""

    def __init__(self, codec: Codec, records: list[PreferenceRecord], limits: Limits, dropped: Dropped) -> None:
        encoded = [(r, encode_pairs(codec, [r], limits, dropped)) for r in records]
        self.records = [r for r, trees in encoded if trees]
        self.trees = [tree for _, trees in encoded for tree in trees]

    def scores(self, reward_model: RewardModel, token_budget: int) -> Tensor:
        """Chosen and rejected scores, `[n, 2]`."""
        return reward_model.score_trees(self.trees, token_budget).view(-1, 2)

    def agreement(self, reward_model: RewardModel, token_budget: int) -> dict[str, float]:
        """Accuracy on the labels and margin; where gold is known, agreement with it and what its labels allow."""
        if not self.trees:
            return {"n": 0}
        score = self.scores(reward_model, token_budget).double().cpu()
        gap = score[:, 0] - score[:, 1]
        row = {
            "n": len(gap),
            "accuracy": float(((gap > 0).double() + 0.5 * (gap == 0)).mean()),
            "margin": float(gap.mean()),
            "score_mean": float(score.mean()),
            "score_sd": float(score.std()),
        }
        return row | self._against_gold(gap)

    def _against_gold(self, gap: Tensor) -> dict[str, float]:
        if any("gold_chosen" not in r.meta for r in self.records):
            return {}
        truth = torch.tensor([r.meta["gold_chosen"] - r.meta["gold_rejected"] for r in self.records]).double()
        clear = truth != 0
        agreement = float((gap * truth > 0)[clear].double().mean())
        ceiling = float(torch.tensor([r.meta["label_ceiling"] for r in self.records]).double()[clear].mean())
        return {"gold_agreement": agreement, "label_ceiling": ceiling, "agreement_ratio": agreement / ceiling}


def _normalization_trees(config: RewardModelStage, codec: Codec, heldout: _Heldout) -> list[Tree]:
    """The completions whose scores set the zero and the unit; asked for before training, so that none is lost."""
    if config.normalization == "center":
        limits = Limits(config.max_prompt_tokens, config.max_completion_tokens)
        records = config.task.demonstrations(config.seed, Dropped())
        trees = encode_demonstrations(codec, records, limits, Dropped())
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


def _normalize(config: RewardModelStage, reward_model: RewardModel, trees: list[Tree]) -> None:
    """Shift (and scale) the scores; a shift cancels in advantages except where a missing EOS replaces the score."""
    if config.normalization == "none":
        return
    scores = reward_model.score_trees(trees, config.compute.evaluation_budget)
    reward_model.normalize(float(scores.mean()), float(scores.std()) if config.normalization == "standardize" else 1.0)
