"""A checkpoint's completions beside what they are compared with, and the rows that record what a judge said of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from overopt.evaluation.completions import Completed
from overopt.evaluation.judges.base import Comparison, Identity, JudgeProtocol, Situation, encodable, judgements
from overopt.evaluation.win_rates import Judged, Outcomes, Row
from overopt.tasks.base import TaskProtocol
from overopt.types import Completion, PromptRecord


@dataclass(frozen=True)
class Side:
    """What completions are compared with: the references, or another run's completions of the same prompts."""

    name: str | None
    """Of the other run; None: the references."""
    completions: Sequence[Completion | None]
    """One for each prompt, None where there is none."""
    gold: Sequence[float | None]


@dataclass(frozen=True)
class Compared:
    """The completions of one checkpoint, the prompts, and the other side."""

    run: str
    split: str
    records: Sequence[PromptRecord]
    completed: Completed
    other: Side
    limit: int | None
    """As it is recorded: None for the run's own."""

    def comparisons(self) -> dict[int, Comparison]:
        """Return what a judge is asked, by the place of the prompt."""
        pairs = zip(self.records, self.completed.samples, self.other.completions, strict=True)
        return {
            place: self._comparison(record, sample, other)
            for place, (record, sample, other) in enumerate(pairs)
            if other is not None
        }

    def judged_by(self, judge: JudgeProtocol, situation: Situation) -> list[Judged | None]:
        """Ask a judge about all prompts that have two sides; None for the others."""
        asked = self.comparisons()
        found = judgements(judge, list(asked.values()), situation)
        judged: list[Judged | None] = [None] * len(self.records)
        for (place, comparison), judgement in zip(asked.items(), found, strict=True):
            longer = len(comparison.ours.text.strip()) - len(comparison.reference.text.strip())
            judged[place] = Judged(judgement, self.completed.samples[place]["length"], longer)
        return judged

    def samples(self, identity: Identity, outcomes: Outcomes) -> list[Row]:
        """Return the rows of `samples/step-N.parquet`."""
        return [
            {
                **sample,
                **self._place(record, identity),
                "prompt": record.prompt,
                "reference": None if other is None else other.text,
                "reference_gold": gold,
                "outcome": outcome,
            }
            for record, sample, other, gold, outcome in zip(
                self.records, self.completed.samples, self.other.completions, self.other.gold, outcomes, strict=True
            )
        ]

    def judgements(self, identity: Identity, judged: Sequence[Judged | None]) -> list[Row]:
        """Return the rows of `judgements/step-N.parquet`, one for each reply."""
        return [
            {
                **self._place(record, identity),
                "judge_hash": identity.hash,
                "prompt_name": identity.prompt or None,
                "prompt_hash": identity.prompt_hash or None,
                "ours_position": reply.ours_position,
                "raw_reply": encodable(reply.text),
                "verdict": reply.verdict,
                "attempts": reply.attempts,
                "date": reply.date,
            }
            for record, one in zip(self.records, judged, strict=True)
            for reply in (one.judgement.replies if one else ())
        ]

    def _comparison(self, record: PromptRecord, sample: Row, other: Completion) -> Comparison:
        ours = Completion(sample["completion"], bool(sample["ended"]))
        return Comparison(record, ours, other, f"{self.run}/{self.completed.step}/{record.prompt_id}")

    def _place(self, record: PromptRecord, identity: Identity) -> dict[str, Any]:
        return {
            "prompt_id": record.prompt_id,
            "split": self.split,
            "judge": identity.id,
            "against": self.other.name,
            "max_completion_tokens": self.limit,
        }


def references(task: TaskProtocol, records: Sequence[PromptRecord]) -> Side:
    """Return the references as the other side."""
    completions = [None if record.reference is None else Completion(record.reference) for record in records]
    known = zip(records, completions, strict=True)
    gold = [None if c is None or not task.has_gold else task.gold(record, c) for record, c in known]
    return Side(None, completions, gold)
