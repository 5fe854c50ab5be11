"""The reward model: trained on preference pairs or rankings. It is the proxy that online training climbs."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from overopt.config import Location, block
from overopt.engine.compute import Compute
from overopt.engine.optimizer import AdamW, CosineDecay, Optimizer, OptimizerSettings, Schedule
from overopt.engine.packing import Tree, micro_batches, pack
from overopt.errors import UserError
from overopt.integrations import Sink
from overopt.models.reward_model import RewardModel
from overopt.models.text import Codec
from overopt.objectives.reward_losses import BradleyTerry, PlackettLuce, RewardLoss
from overopt.stopping import StopCondition
from overopt.tasks import Miniature, Task
from overopt.training.baselines import Baselines
from overopt.training.data import (
    Limits,
    batches,
    checkpoint_steps,
    common_size,
    encode_demonstrations,
    encode_preferences,
    of_size,
    random_stream,
)
from overopt.training.fields import Count, Keep, Positive, Provenance, Seed
from overopt.training.loop import parent_policy, tokens_in
from overopt.training.pairs import FromRun, Pairs, PairSampler, Sampled, ceilings_of, check_takes, golds_of, to_row
from overopt.training.probes import in_order
from overopt.training.run.session import Session
from overopt.training.run.trainer_state import Moving
from overopt.types import Dropped, Preference


@block
class RewardModelStage:
    """A score on a policy's body, trained to rank completions. Defaults are the N+ recipe's (Huang et al. 2024)."""

    stage: ClassVar[str] = "reward_model"

    policy: Location
    """The policy whose body it starts from, and which samples the pairs: a run or a model folder."""
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
    """Conditions that end the run in time."""
    sinks: list[Sink] = Field(default_factory=list)
    """Where else its numbers go; no part of what the run is, so its record does not name them."""
    compute: Compute = Compute()
    provenance: Provenance = Field(default_factory=dict)


def train_reward_model(config: RewardModelStage, session: Session) -> None:
    """Draw a batch of pairs or rankings, descend the loss, record; normalize every checkpoint."""
    policy = parent_policy(session, "policy", config.policy)
    codec = Codec.of(policy, config.task.prompt_style, session.clock)
    limits = Limits(config.max_prompt_tokens, config.max_completion_tokens)
    dropped = session.dropped("pairs")
    split, _ = config.task.evaluation(config.seed, Dropped())
    source = FromRun(path=str(session.out)) if session.has_pairs else config.pairs
    pairs = source.collect(_sampler(config, session, policy, codec, dropped))
    size = common_size(pairs.train)
    check_takes("loss", config.loss, size, PlackettLuce)
    train = encode_preferences(codec, of_size(pairs.train, size, dropped), limits, dropped)
    dropped.kept = len(train)
    stream = batches(train, config.batch_size, random_stream(config.seed, "pair order"), "batch_size", dropped)
    heldout = _Heldout(codec, pairs.heldout, size, limits, session.dropped("held-out pairs"))
    heldout.baselines = Baselines(of_size(pairs.train, size, Dropped()), heldout.records)
    scale_trees = _normalization_trees(config, codec, heldout)
    steps = max(1, config.epochs * (len(train) // config.batch_size))
    generator = torch.Generator().manual_seed(config.seed)
    reward_model = RewardModel.from_policy(policy, generator, config.task.prompt_style)
    optimizer = Optimizer(reward_model.parameters(), config.optimizer, config.lr, config.schedule, steps)
    checkpoints = checkpoint_steps(steps, config.checkpoint_every or steps)
    writer = session.start(steps, split=split)
    moving = Moving(reward_model, optimizer, stream)
    session.restore(moving, checkpoints, checkpoint_steps(steps, config.checkpoint_every))
    budget = config.compute.evaluation_budget
    if not session.resumed:
        if isinstance(config.pairs, Sampled):
            writer.write_pairs([to_row(r, False) for r in pairs.train] + [to_row(r, True) for r in pairs.heldout])
        session.record({"step": 0, "split": split, "judge": "pairs", **heldout.agreement(reward_model, budget)})
        session.keep(0)
    for step in session.steps_left():
        batch = next(stream)
        loss, accuracy = session.within_memory(partial(_descend_within, reward_model, batch), optimizer.discard)
        lr = optimizer.lr_at(step - 1)
        norm = optimizer.step(step - 1, config.grad_clip)
        metrics = {"loss": loss, "rewards_acc": accuracy, "lr": lr, "grad_norm": float(norm)}
        session.log(step, metrics, tokens_in(batch))
        if step in checkpoints:
            _normalize(config, reward_model, scale_trees)
            row = heldout.agreement(reward_model, budget)
            session.record({"step": step, "split": split, "judge": "pairs", **row})
        session.keep(step)


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


def _descend_within(reward_model: RewardModel, trees: list[Tree], config: RewardModelStage) -> tuple[float, float]:
    return _descend(reward_model, config.loss, trees, config.compute.budget)


def _descend(
    reward_model: RewardModel, reward_loss: BradleyTerry | PlackettLuce, trees: list[Tree], token_budget: int
) -> tuple[float, float]:
    """Gather the gradient of the mean loss over the records; returns that mean and the accuracy on their pairs."""
    size = len(trees[0].completions)
    total, right = 0.0, 0.0
    for batch in micro_batches(trees, token_budget):
        packed = pack([trees[i] for i in batch], reward_model.device)
        score_PK = reward_model.raw_score(packed).view(-1, size)
        loss = reward_loss(score_PK).sum() / len(trees)
        loss.backward()
        total += float(loss.detach())
        right += float(in_order(gaps(score_PK.detach())).mean(1).sum())
    return total, right / len(trees)


def gaps(score_PK: Tensor) -> Tensor:
    """For each two of K ranked scores the better-labelled one's less the other's, `[P, K(K-1)/2]`."""
    better, worse = torch.triu_indices(score_PK.shape[1], score_PK.shape[1], offset=1, device=score_PK.device)
    return score_PK[:, better] - score_PK[:, worse]


class _Heldout:
    """Pairs or rankings that the reward model is tested on."""

    baselines: Baselines

    def __init__(self, codec: Codec, records: list[Preference], size: int, limits: Limits, dropped: Dropped) -> None:
        self.size = size
        sized = of_size(records, size, dropped)
        encoded = [(r, encode_preferences(codec, [r], limits, dropped)) for r in sized]
        self.records = [r for r, trees in encoded if trees]
        self.trees = [tree for _, trees in encoded for tree in trees]
        dropped.kept = len(self.trees)

    def scores(self, reward_model: RewardModel, token_budget: int) -> Tensor:
        """Scores, the best-labelled completion's first, `[n, K]`."""
        return reward_model.score_trees(self.trees, token_budget).view(-1, self.size)

    def agreement(self, reward_model: RewardModel, token_budget: int) -> dict[str, float]:
        """Accuracy on the labels and margin; where gold is known, agreement with it and what its labels allow.

        Of a ranking, each two of its completions count as a pair. What counting reaches stands beside both.
        """
        if not self.trees:
            return {"n": 0}
        score = self.scores(reward_model, token_budget).double().cpu()
        gap = gaps(score).flatten()
        row = {
            "n": len(score),
            "accuracy": float(in_order(gap).mean()),
            "margin": float(gap.mean()),
            "score_mean": float(score.mean()),
            "score_sd": float(score.std()),
        }
        return row | self._against_gold(gap)

    def _against_gold(self, gap: Tensor) -> dict[str, float]:
        golds = [gold for r in self.records if (gold := golds_of(r)) is not None]
        pairs = len(gap) // len(self.records)
        if len(golds) < len(self.records):
            return self.baselines.against(gap.numpy(), np.ones(len(gap)), pairs)
        truth = gaps(torch.tensor(golds, dtype=torch.float64)).flatten()
        clear = truth != 0
        agreement = float(in_order(gap * truth)[clear].mean())
        ceiling_of_pair = torch.tensor([c for r in self.records for c in ceilings_of(r)], dtype=torch.float64)
        ceiling = float(ceiling_of_pair[clear].mean())
        row = {"gold_agreement": agreement, "label_ceiling": ceiling, "agreement_ratio": agreement / ceiling}
        return row | self.baselines.against(gap.numpy(), truth.numpy(), pairs)


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
    """Shift (and scale) the scores as they are at this step, whatever an earlier checkpoint's shift was.

    A shift cancels in advantages except where a missing EOS replaces the score.
    """
    if config.normalization == "none":
        return
    reward_model.normalize(0.0, 1.0)
    scores = reward_model.score_trees(trees, config.compute.evaluation_budget)
    reward_model.normalize(float(scores.mean()), float(scores.std()) if config.normalization == "standardize" else 1.0)
