"""Where preference pairs come from: sampled and labelled by gold, stored in the task's files, or another run's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from overopt.config import Choice, Location, block
from overopt.engine.sampler import DrawKey, sample_in_batches
from overopt.errors import UserError
from overopt.models.policy import Policy
from overopt.models.text import Codec
from overopt.records import load_run
from overopt.tasks.base import TaskProtocol
from overopt.training.data import random_stream
from overopt.types import Completion, Dropped, PreferenceRecord, PromptRecord

Positive = Annotated[float, Field(gt=0)]
TEST_PAIRS = 600


@dataclass(frozen=True, slots=True)
class PairSet:
    """Pairs to train on and pairs held out; what the labels' own agreement with gold is, where gold is known."""

    train: list[PreferenceRecord]
    heldout: list[PreferenceRecord]


@block
class Sampled:
    """Two samples a prompt, labelled by Bradley-Terry on gold: p(a > b) = sigma(label_scale (G_a - G_b)).

    The prompts are divided evenly among the temperatures. Held-out pairs come from the first temperature.
    """

    count: Annotated[int, Field(gt=0)] = 8000
    temperatures: list[Positive] = Field(default=[0.7, 1.0], min_length=1)
    label_scale: Positive = 2.0

    def collect(self, sampler: PairSampler) -> PairSet:
        """Sample and label, with streams of their own for training and held-out pairs."""
        task, seed = sampler.task, sampler.seed
        if not task.has_gold:
            raise UserError(
                "pairs: sampled pairs are labelled by a gold reward, but this task has none; use pairs: task"
            )
        prompts = task.pair_prompts(seed, self.count)
        train = []
        for i, temperature in enumerate(self.temperatures):
            part = prompts[
                i * len(prompts) // len(self.temperatures) : (i + 1) * len(prompts) // len(self.temperatures)
            ]
            train += sampler.sample(part, temperature, f"pairs {i}", self.label_scale)
        test = task.reward_test_prompts(seed)
        return PairSet(train, sampler.sample(test, self.temperatures[0], "heldout pairs", self.label_scale))


@block
class Stored:
    """The task's own pairs."""

    config_name = "task"

    def collect(self, sampler: PairSampler) -> PairSet:
        """Training and held-out pairs of the task's files."""
        train = sampler.task.preferences(sampler.seed, sampler.dropped)
        return PairSet(train, sampler.task.evaluation_preferences(sampler.seed, Dropped())[1])


@block
class FromRun:
    """The pairs that a reward model's run sampled and labelled."""

    config_name = "run"

    path: Location

    def collect(self, sampler: PairSampler) -> PairSet:
        """Pairs as that run recorded them."""
        train: list[PreferenceRecord] = []
        heldout: list[PreferenceRecord] = []
        for row in load_run(self.path).pairs():
            (heldout if row["heldout"] else train).append(from_row(row))
        return PairSet(train, heldout)


Pairs = Annotated[Sampled | Stored | FromRun, Choice()]


@dataclass(frozen=True, slots=True)
class PairSampler:
    """What sampling pairs takes."""

    task: TaskProtocol
    codec: Codec
    policy: Policy
    seed: int
    max_completion_tokens: int
    token_budget: int
    dropped: Dropped

    def sample(
        self, records: Sequence[PromptRecord], temperature: float, purpose: str, label_scale: float
    ) -> list[PreferenceRecord]:
        """One labelled pair a prompt."""
        samples = sample_in_batches(
            self.policy,
            [self.codec.prompt(record) for record in records],
            [record.prompt_id for record in records],
            group_size=2,
            temperature=temperature,
            max_tokens=self.max_completion_tokens,
            key=DrawKey(self.seed, purpose, 0),
            token_budget=self.token_budget,
        )
        completions = [self.codec.decode(row) for row in samples.completions()]
        draws = random_stream(self.seed, f"labels of {purpose}").random(len(records))
        return [
            _labelled(self.task, record, completions[2 * i], completions[2 * i + 1], label_scale, float(draws[i]))
            for i, record in enumerate(records)
        ]


def _labelled(
    task: TaskProtocol, record: PromptRecord, a: Completion, b: Completion, scale: float, draw: float
) -> PreferenceRecord:
    gold_a, gold_b = task.gold(record, a), task.gold(record, b)
    assert gold_a is not None and gold_b is not None
    preferred = 1.0 / (1.0 + math.exp(-max(-30.0, min(30.0, scale * (gold_a - gold_b)))))
    if draw >= preferred:
        a, b, gold_a, gold_b = b, a, gold_b, gold_a
    ceiling = max(preferred, 1.0 - preferred)
    meta = {"gold_chosen": gold_a, "gold_rejected": gold_b, "label_ceiling": ceiling}
    return PreferenceRecord(record.prompt_id, record.prompt, a, b, meta)


def to_row(record: PreferenceRecord, heldout: bool) -> dict[str, Any]:
    """A pair as a line of `pairs.jsonl.gz`."""
    return {
        "prompt_id": record.prompt_id,
        "prompt": record.prompt,
        "chosen": record.chosen.text,
        "rejected": record.rejected.text,
        "chosen_ended": record.chosen.ended,
        "rejected_ended": record.rejected.ended,
        "meta": record.meta,
        "heldout": heldout,
    }


def from_row(row: dict[str, Any]) -> PreferenceRecord:
    """The pair of a line of `pairs.jsonl.gz`."""
    chosen = Completion(row["chosen"], row["chosen_ended"])
    return PreferenceRecord(
        row["prompt_id"], row["prompt"], chosen, Completion(row["rejected"], row["rejected_ended"]), row["meta"]
    )
