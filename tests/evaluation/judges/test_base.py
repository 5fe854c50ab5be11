from typing import Any

import numpy as np
import pytest

from overopt.config import block
from overopt.errors import UserError
from overopt.evaluation.judges.base import (
    OUTCOMES,
    Comparison,
    Judgement,
    Position,
    Reply,
    Situation,
    Verdict,
    digest,
    encodable,
    judgements,
    prefers_first,
)
from overopt.types import Completion, PromptRecord


def test_a_tie_is_half_a_win_and_an_invalid_answer_is_none() -> None:
    assert OUTCOMES == {"ours": 1.0, "tie": 0.5, "reference": 0.0, "invalid": None}


def test_a_situation_needs_nothing() -> None:
    situation = Situation()
    situation.progress(1, 2)
    assert (situation.task, situation.reward_model, situation.prompt_style) == (None, None, "raw")


@block
class Careless:
    """What a judge of the user's may return."""

    returned: Any

    def judge(self, comparisons: Any, situation: Any) -> Any:
        return self.returned


PAIR = Comparison(PromptRecord("p", "Why?"), Completion("a"), Completion("b"))


def test_what_a_judge_of_ones_own_returns_is_checked() -> None:
    def judged(*returned: Any) -> list[Judgement]:
        return judgements(Careless(returned=list(returned)), [PAIR, PAIR], Situation())  # type: ignore[arg-type]

    assert [j.outcome for j in judged(Judgement(0.25), Judgement(None))] == [0.25, None]
    with pytest.raises(UserError, match=r"^judge .*test_base:Careless gave 1 judgements for 2 comparisons; it must"):
        judged(Judgement(1.0))
    for wrong, shown in ((1.0, "1.0"), (Judgement(1.5), "1.5"), (Judgement(float("nan")), "nan"), (None, "None")):
        with pytest.raises(UserError, match=f"Careless gave {shown} as judgement 1; it must be a Judgement"):
            judged(Judgement(0.0), wrong)


def test_a_digest_depends_on_values_and_not_on_their_order() -> None:
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1}) == "ae8a9a505246"
    assert digest({"a": 1, "b": [3]}) != digest({"a": 1, "b": [2]})


def test_which_text_replies_prefer_by_order() -> None:
    def reply(position: Position, verdict: Verdict) -> Reply:
        return Reply(position, verdict, "text", 1, "2026-01-01T00:00:00+00:00")

    assert prefers_first([reply("A", "ours"), reply("B", "ours")]) == [1.0, 0.0]
    assert prefers_first([reply("B", "reference"), reply("A", "tie")]) == [0.5, 1.0]
    assert np.isnan(prefers_first([reply("A", "invalid")])).all()


def test_half_of_a_surrogate_pair_is_replaced() -> None:
    assert encodable("a\ud83d b") == "a? b" and encodable("ä ✓ 😀") == "ä ✓ 😀"
