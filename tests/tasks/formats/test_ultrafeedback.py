from __future__ import annotations

from typing import Any

import pytest

from overopt.errors import UserError
from overopt.tasks.formats import detect, ultrafeedback
from overopt.tasks.formats.example import Example
from overopt.tasks.formats.ultrafeedback import read
from overopt.types import Dropped

ASPECTS = ("helpfulness", "honesty", "instruction_following", "truthfulness")


def completion(text: str, *ratings: Any) -> dict[str, Any]:
    annotations = {
        aspect: {"Rating": rating, "Rationale": "because"} for aspect, rating in zip(ASPECTS, ratings, strict=False)
    }
    return {"model": f"m-{text}", "response": text, "annotations": annotations, "overall_score": 10.0}


def row(*completions: dict[str, Any]) -> dict[str, Any]:
    models = [one.get("model") for one in completions]
    return {"source": "s", "instruction": "Why?", "models": models, "completions": list(completions)}


FOUR = (
    completion("fair", "3", "4", "3", "3"),  # 3.25
    completion("best", "5", "5", "4", "5"),  # 4.75
    completion("worst", "1", "2", "1", "3"),  # 1.75
    completion("good", "5", "N/A", "4", "4"),  # 13/3, of the three that are numbers
)


def test_four_completions_are_ranked_by_their_mean_rating() -> None:
    assert detect(row(*FOUR)) is ultrafeedback
    columns = {"source": "s", "models": ["m-fair", "m-best", "m-worst", "m-good"]}
    assert read(row(*FOUR), Dropped()) == Example("Why?", "best", "worst", ("good", "fair"), columns=columns)


def test_what_cannot_be_ranked_is_counted() -> None:
    dropped = Dropped()
    tied = completion("tied", "4", "3", "3", "3")  # 3.25, as fair
    assert read(row(*FOUR, tied), dropped) is None
    assert read(row(*FOUR, completion("unrated", "N/A", None)), dropped) is None
    assert read(row(*FOUR, {"response": "bare"}), dropped) is None
    assert read(row(FOUR[0]), dropped) is None
    assert dropped.reasons == {"tied scores": 1, "a completion without a rating": 2, "fewer than two completions": 1}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"completions": "a"}, "field 'completions' must be a list of completions"),
        ({"completions": ["a", "b"]}, "every completion needs its 'response', a text"),
        ({"completions": [{"response": 1}, {}]}, "every completion needs its 'response', a text"),
        ({"instruction": None}, "field 'instruction' must be text, got NoneType"),
    ],
)
def test_malformed_records_are_the_users_error(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(row(*FOUR) | changes, Dropped())
