"""Where pairs and rankings come from: sampled and labelled by gold, stored in the task's files, or another run's."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Protocol, get_args

from pydantic import Field

from overopt.config import Choice, Folder, Positive, block, name_of
from overopt.engine.sampler import DrawKey, sample_in_batches
from overopt.errors import UserError
from overopt.models.cutting import encode_cut
from overopt.models.policy import Policy
from overopt.models.text import Codec
from overopt.objectives.contracts import PreferenceLossProtocol, RewardLossProtocol
from overopt.records import fits_schema, load_run
from overopt.records.layout import PAIRS
from overopt.tasks.base import TaskProtocol
from overopt.training.data import Limits, random_stream
from overopt.types import Completion, Dropped, Preference, PreferenceRecord, PromptRecord, RankingRecord, preference


@dataclass(frozen=True, slots=True)
class PairSet:
    """Pairs (or rankings) to train on and held out; what the labels' agreement with gold is, where gold is known."""

    train: Sequence[Preference]
    heldout: Sequence[Preference]


class PairsProtocol(Protocol):
    """What a source of pairs has."""

    @abstractmethod
    def collect(self, sampler: PairSampler, token_budget: int) -> PairSet:
        """The pairs to train on and those held out."""


@block
class Sampled(PairsProtocol):
    """Two samples a prompt, labelled by Bradley-Terry on gold: p(a > b) = sigma(label_scale (G_a - G_b)).

    With `per_prompt` K > 2, K samples ranked by the Plackett-Luce model of the same scores.
    The prompts are divided evenly among the temperatures. Held-out pairs come from the first temperature.
    """

    count: Annotated[int, Field(gt=0)] = 8000
    temperatures: list[Positive] = Field(default=[0.7, 1.0], min_length=1)
    label_scale: Positive = 2.0
    per_prompt: Annotated[int, Field(ge=2)] = 2
    """Completions ranked for each prompt; more than 2 take a loss of rankings."""

    def collect(self, sampler: PairSampler, token_budget: int) -> PairSet:
        """Sample and label, with streams of their own for training and held-out pairs."""
        task, seed = sampler.task, sampler.seed
        if not task.has_gold:
            raise UserError(
                "pairs: sampled pairs are labelled by a gold reward, but this task has none; use pairs: task"
            )
        prompts, how = task.pair_prompts(seed, self.count), (self.label_scale, self.per_prompt, token_budget)
        train: list[Preference] = []
        for i, temperature in enumerate(self.temperatures):
            part = prompts[
                i * len(prompts) // len(self.temperatures) : (i + 1) * len(prompts) // len(self.temperatures)
            ]
            train += sampler.sample(part, temperature, f"pairs {i}", *how)
        test = task.reward_test_prompts(seed)
        first = self.temperatures[0]
        return PairSet(train, sampler.sample(test, first, "heldout pairs", *how))


@block
class Stored(PairsProtocol):
    """The task's own pairs."""

    config_name = "task"

    def collect(self, sampler: PairSampler, token_budget: int) -> PairSet:
        """Training and held-out pairs of the task's files."""
        train = sampler.task.preferences(sampler.seed, sampler.dropped)
        return PairSet(train, sampler.task.evaluation_preferences(sampler.seed, Dropped())[1])


@block
class FromRun(PairsProtocol):
    """The pairs that a reward model's run sampled and labelled."""

    config_name = "run"

    path: Folder
    limit: Annotated[int, Field(gt=0)] | None = None
    """How many of its training pairs to use, evenly spaced; null: all of them."""

    def collect(self, sampler: PairSampler, token_budget: int) -> PairSet:
        """Pairs as that run recorded them."""
        pairs = recorded_pairs(Path(self.path))
        count = len(pairs.train)
        used = self.used(count)
        return PairSet([pairs.train[i * count // used] for i in range(used)], pairs.heldout)

    def used(self, count: int) -> int:
        """How many of a run's pairs are trained on."""
        return count if self.limit is None else min(self.limit, count)


_ANY = {"prompt_id": str, "prompt": str, "meta": dict, "heldout": bool}
_PAIR = {"chosen": str, "rejected": str, "chosen_ended": bool, "rejected_ended": bool}
_RANKING = {"ranked": [str], "ranked_ended": [bool]}
_NUMBER = int | float
_GOLD = {
    **dict.fromkeys(("gold_chosen", "gold_rejected", "label_ceiling"), _NUMBER),
    **{name: [_NUMBER] for name in ("gold_ranked", "label_ceilings")},
}
"""Types of the values in a record's `meta`, where gold labelled it."""


def recorded_pairs(run: Path) -> PairSet:
    """The pairs of a reward model's run. Raises UserError where a line has another form."""
    train: list[Preference] = []
    heldout: list[Preference] = []
    for number, row in enumerate(load_run(run).pairs(), start=1):
        if not _is_written(row):
            raise UserError(f"{run}: {PAIRS}:{number}: no pair or ranking of a run's; restore the file")
        (heldout if row["heldout"] else train).append(from_row(row))
    return PairSet(train, heldout)


def _is_written(row: dict[str, Any]) -> bool:
    """Whether a row has the form that `to_row` writes."""
    if not fits_schema(row, _ANY) or not fits_schema(row, _RANKING if "ranked" in row else _PAIR):
        return False
    if "ranked" in row and not len(row["ranked"]) == len(row["ranked_ended"]) > 1:
        return False
    return all(fits_schema(row["meta"][name], form) for name, form in _GOLD.items() if name in row["meta"])


Pairs = Annotated[Sampled | Stored | FromRun, Choice(PairsProtocol)]


@dataclass(frozen=True, slots=True)
class PairSampler:
    """Samples and labels pairs or rankings."""

    task: TaskProtocol
    codec: Codec
    policy: Policy
    seed: int
    limits: Limits
    dropped: Dropped

    def sample(
        self,
        records: Sequence[PromptRecord],
        temperature: float,
        purpose: str,
        label_scale: float,
        per_prompt: int,
        token_budget: int,
    ) -> list[Preference]:
        """One labelled pair or ranking for each prompt."""
        encoded = list(encode_cut(self.codec, records, (), self.limits.prompt, Dropped()))
        records = [record for record, _, _ in encoded]
        samples = sample_in_batches(
            self.policy,
            [ids for _, ids, _ in encoded],
            [record.prompt_id for record in records],
            group_size=per_prompt,
            temperature=temperature,
            max_tokens=self.limits.completion,
            key=DrawKey(self.seed, purpose, 0),
            token_budget=token_budget,
        )
        rows = samples.completions()
        completions = [self.codec.decode(row, records[i // per_prompt]) for i, row in enumerate(rows)]
        draws = random_stream(self.seed, f"labels of {purpose}").random((len(records), per_prompt - 1)).tolist()
        return [
            _labelled(self.task, record, completions[i * per_prompt : (i + 1) * per_prompt], label_scale, draws[i])
            for i, record in enumerate(records)
        ]


def _labelled(
    task: TaskProtocol, record: PromptRecord, completions: Sequence[Completion], scale: float, draws: Sequence[float]
) -> Preference:
    """The completions ranked by Plackett-Luce on gold: each draw in [0, 1) picks the best of those that are left."""
    golds: list[float] = []
    for completion in completions:
        gold = task.gold(record, completion)
        assert gold is not None
        golds.append(gold)
    order, left = [], list(range(len(completions)))
    for draw in draws:
        order.append(left.pop(_picked([scale * golds[i] for i in left], draw)))
    order += left
    ranked, golds = tuple(completions[i] for i in order), [golds[i] for i in order]
    ceilings = [_preferred(scale * abs(a - b)) for a, b in combinations(golds, 2)]
    meta: dict[str, Any] = {"gold_ranked": golds, "label_ceilings": ceilings}
    if len(ranked) == 2:
        meta = {"gold_chosen": golds[0], "gold_rejected": golds[1], "label_ceiling": ceilings[0]}
    meta |= {name: record.meta[name] for name in ("messages", "tools") if name in record.meta}
    return preference(record.prompt_id, record.prompt, ranked, meta, record.place)


def _picked(scores: Sequence[float], draw: float) -> int:
    """The index that a draw picks among probabilities softmax(scores)."""
    weights = [math.exp(max(-30.0, score - max(scores))) for score in scores]
    threshold = draw * sum(weights)
    for i, weight in enumerate(weights):
        threshold -= weight
        if threshold < 0:
            return i
    return len(weights) - 1


def _preferred(gap: float) -> float:
    """Bradley-Terry: the probability that the label agrees with gold, in a pair whose scaled golds are `gap` apart."""
    return 1.0 / (1.0 + math.exp(-min(30.0, gap)))


def golds_of(record: Preference) -> list[float] | None:
    """The completions' gold rewards, best-labelled first, if the labels came from gold."""
    if isinstance(record, RankingRecord):
        return record.meta.get("gold_ranked")
    return None if "gold_chosen" not in record.meta else [record.meta["gold_chosen"], record.meta["gold_rejected"]]


def ceilings_of(record: Preference) -> list[float]:
    """For each two completions of a sampled record, the probability that their labels agree with gold."""
    if isinstance(record, RankingRecord):
        ceilings: list[float] = record.meta["label_ceilings"]
        return ceilings
    return [record.meta["label_ceiling"]]


def to_row(record: Preference, heldout: bool) -> dict[str, Any]:
    """A pair or a ranking as a line of `pairs.jsonl.gz`."""
    row: dict[str, Any] = {"prompt_id": record.prompt_id, "prompt": record.prompt}
    if isinstance(record, RankingRecord):
        row |= {"ranked": [c.text for c in record.ranked], "ranked_ended": [c.ended for c in record.ranked]}
    else:
        row |= {"chosen": record.chosen.text, "rejected": record.rejected.text}
        row |= {"chosen_ended": record.chosen.ended, "rejected_ended": record.rejected.ended}
    return row | {"meta": record.meta, "heldout": heldout}


def from_row(row: dict[str, Any]) -> Preference:
    """The pair or the ranking of a line of `pairs.jsonl.gz`."""
    if "ranked" in row:
        ranked = tuple(map(Completion, row["ranked"], row["ranked_ended"]))
        return RankingRecord(row["prompt_id"], row["prompt"], ranked, row["meta"])
    chosen, rejected = (Completion(row[name], row[f"{name}_ended"]) for name in ("chosen", "rejected"))
    return PreferenceRecord(row["prompt_id"], row["prompt"], chosen, rejected, row["meta"])


def check_takes(
    address: str, loss: PreferenceLossProtocol | RewardLossProtocol, size: int, ranking_losses: Any
) -> None:
    """Refuse a loss of pairs where records rank more; `ranking_losses` (a class or a union) is what to take instead."""
    if size > 2 and loss.takes == "pairs":
        names = ", ".join(name_of(cls) for cls in get_args(ranking_losses) or (ranking_losses,))
        raise UserError(
            f"{address}: {name_of(type(loss))} takes pairs, but these records rank {size} completions each; "
            f"use a loss of rankings: {names}"
        )
