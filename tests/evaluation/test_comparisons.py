"""Three prompts, of which the second has no reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from overopt.errors import UserError
from overopt.evaluation.comparisons import Compared, Side, references
from overopt.evaluation.completions import Completed
from overopt.evaluation.judges.base import Comparison, Identity, Judgement, JudgeProtocol, Reply, Situation
from overopt.evaluation.win_rates import Judged
from overopt.tasks import Miniature
from overopt.types import Completion, PromptRecord

RECORDS = [PromptRecord("a", "p a", "r"), PromptRecord("b", "p b"), PromptRecord("c", "p c", "four")]
IDENTITY = Identity("lab/model:j1", "0" * 12, "j1", "1" * 12)


def sample(name: str, text: str, ended: bool = True) -> dict[str, object]:
    numbers = {"proxy": 1.5, "gold": -1.0, "length": len(text.split()) + 1, "logp": -3.0}
    return {"prompt_id": name, "completion": text, "ended": ended, **numbers}


def compared(other: Side | None = None, limit: int | None = None) -> Compared:
    samples = [sample("a", " one two "), sample("b", "x"), sample("c", "y", ended=False)]
    side = other or Side(None, [Completion("r"), None, Completion("four")], [0.5, None, 0.25])
    return Compared("kl", "tuning", RECORDS, Completed(80, 24, samples, {}, False), side, limit)


@dataclass
class Fixed(JudgeProtocol):
    judgements: Sequence[Judgement]
    asked: list[Comparison] = field(default_factory=list)

    def identity(self, situation: Situation) -> Identity:
        return IDENTITY

    def judge(self, comparisons: Sequence[Comparison], situation: Situation) -> Sequence[Judgement]:
        self.asked += comparisons
        return self.judgements


def test_only_prompts_with_two_sides_are_judged() -> None:
    judge = Fixed([Judgement(1.0), Judgement(None)])
    judged = compared().judged_by(judge, Situation())
    assert judged == [Judged(Judgement(1.0), 3, len("one two") - len("r")), None, Judged(Judgement(None), 2, -3)]
    assert [(c.record.prompt_id, c.ours.text, c.ours.ended, c.reference.text, c.key) for c in judge.asked] == [
        ("a", " one two ", True, "r", "kl/80/a"),
        ("c", "y", False, "four", "kl/80/c"),
    ]


def test_a_judge_that_does_not_answer_is_refused() -> None:
    with pytest.raises(UserError, match="gave 1 judgements for 2 comparisons; it must give one for each"):
        compared().judged_by(Fixed([Judgement(1.0)]), Situation())


def test_samples_hold_both_sides() -> None:
    first, second, _ = compared().samples(IDENTITY, [1.0, None, 0.5])
    assert first == sample("a", " one two ") | {
        "split": "tuning",
        "judge": "lab/model:j1",
        "prompt": "p a",
        "reference": "r",
        "reference_gold": 0.5,
        "outcome": 1.0,
        "against": None,
        "max_completion_tokens": None,
    }
    assert (second["reference"], second["reference_gold"], second["outcome"]) == (None, None, None)
    other = Side("dpo", [Completion("theirs")] * 3, [2.0] * 3)
    rows = compared(other, 53).samples(IDENTITY, [1.0, 1.0, 1.0])
    assert {(r["reference"], r["reference_gold"], r["against"], r["max_completion_tokens"]) for r in rows} == {
        ("theirs", 2.0, "dpo", 53)
    }


def test_every_reply_is_a_row() -> None:
    replies = (Reply("A", "ours", "B \ud800 <b>", 2, "2026-01-01"), Reply("B", "invalid", "", 3, "2026-01-02"))
    rows = compared().judgements(IDENTITY, [Judged(Judgement(None, replies), 3, 1), None, Judged(Judgement(0.0), 2, 1)])
    assert rows[0] == {
        "prompt_id": "a",
        "split": "tuning",
        "judge": "lab/model:j1",
        "judge_hash": "0" * 12,
        "prompt_name": "j1",
        "prompt_hash": "1" * 12,
        "against": None,
        "max_completion_tokens": None,
        "ours_position": "A",
        "raw_reply": "B ? <b>",
        "verdict": "ours",
        "attempts": 2,
        "date": "2026-01-01",
    }
    assert [row["date"] for row in rows] == ["2026-01-01", "2026-01-02"]


def test_references_with_their_gold() -> None:
    [record] = Miniature(evaluation_count=1).evaluation(0, None)[1]  # type: ignore[arg-type]
    bare = PromptRecord("b", record.prompt, None, record.meta)
    assert record.reference is not None
    side = references(Miniature(), [record, bare])
    assert side.name is None and side.completions == [Completion(record.reference), None]
    assert side.gold == [Miniature().gold(record, Completion(record.reference)), None]
