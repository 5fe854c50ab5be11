"""What tasks answer, each question asked once: the runs of a study mostly share their files, which may be large."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, Self

from overopt.evaluation.evaluator import REFERENCE_SUMMARIES
from overopt.training.data import common_size
from overopt.types import Dropped

Question = Literal[
    "demonstrations", "prompts", "evaluation", "preferences", "evaluation_preferences", "reward_test_prompts"
]
"""A method of `TaskProtocol`."""


@dataclass(frozen=True)
class Answer:
    """How many records a task gave, and the first of them: enough to plan with."""

    count: int
    first: Sequence[Any]
    referenced: Sequence[Any] = ()
    """The first that have a reference."""
    size: int = 2
    """Of pairs and rankings: how many completions most of them rank. `first` holds only such."""

    @classmethod
    def of(cls, records: Sequence[Any]) -> Self:
        """From all records of prompts."""
        referenced = islice((record for record in records if record.reference is not None), REFERENCE_SUMMARIES)
        return cls(len(records), list(records[:REFERENCE_SUMMARIES]), list(referenced))

    @classmethod
    def of_ranked(cls, records: Sequence[Any]) -> Self:
        """From all pairs or rankings."""
        size = common_size(records)
        same = islice((record for record in records if len(record.ranked) == size), REFERENCE_SUMMARIES)
        return cls(len(records), list(same), size=size)


class Answers:
    """The answers so far."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, int], Answer] = {}

    def __call__(self, task: Any, question: Question, seed: int) -> Answer:
        key = (repr(task), question, seed)
        if key not in self._known:
            self._known[key] = self._ask(task, question, seed)
        return self._known[key]

    def _ask(self, task: Any, question: Question, seed: int) -> Answer:
        ask = getattr(task, question)
        if question == "reward_test_prompts":
            return Answer.of(ask(seed))
        records = ask(seed, Dropped())
        records = records[1] if question.startswith("evaluation") else records  # behind the name of the split
        return Answer.of_ranked(records) if question.endswith("preferences") else Answer.of(records)
