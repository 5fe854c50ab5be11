from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from overopt.objectives.missing_eos import KeepScore, Replace, Subtract

SCORE = torch.tensor([2.0, -3.0, 0.5])
ENDED = torch.tensor([True, False, False])


@pytest.mark.parametrize(
    ("rule", "scores"),
    [
        (Replace(), [2.0, -1.0, -1.0]),
        (Replace(value=-4.0), [2.0, -4.0, -4.0]),
        (Subtract(), [2.0, -4.0, -0.5]),
        (Subtract(penalty=0.25), [2.0, -3.25, 0.25]),
        (Subtract(penalty=0.0), [2.0, -3.0, 0.5]),
        (KeepScore(), [2.0, -3.0, 0.5]),
    ],
)
def test_rule_by_hand(rule: Replace | Subtract | KeepScore, scores: list[float]) -> None:
    result_B = rule(SCORE, ENDED)
    assert result_B.tolist() == scores
    assert result_B.dtype == SCORE.dtype


@pytest.mark.parametrize("rule", [Replace(), Subtract(), KeepScore()])
def test_ended_completions_keep_their_score_and_the_input_is_not_changed(rule: Replace | Subtract | KeepScore) -> None:
    score_B = SCORE.clone()
    assert torch.equal(rule(score_B, torch.ones(3, dtype=torch.bool)), SCORE)
    rule(score_B, ENDED)
    assert torch.equal(score_B, SCORE)


def test_a_negative_penalty_would_be_a_bonus() -> None:
    with pytest.raises(ValidationError):
        Subtract(penalty=-1.0)
