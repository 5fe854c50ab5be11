"""Rankings: a prompt and K responses with their order from best to worst, or their scores, or both.

`{"prompt": str, "responses": [str] * K, "ranking": [int] * K}`, where `ranking[0]` is the index of the best response;
or `"scores": [float] * K`, more being better. A record with equal scores is left out and counted. Two responses are a
pair.
"""

from __future__ import annotations

from overopt.errors import UserError
from overopt.tasks.formats.example import Example, Row, is_number, require, text_field
from overopt.types import Dropped

NEEDS = "prompt, responses, ranking or scores"


def matches(row: Row) -> bool:
    return "responses" in row and ("ranking" in row or "scores" in row)


def _responses(row: Row) -> list[str]:
    responses = row["responses"]
    if not isinstance(responses, list) or not all(isinstance(text, str) for text in responses):
        raise UserError("field 'responses' must be a list of texts")
    if len(responses) < 2:
        raise UserError(f"field 'responses' needs 2 or more to rank, got {len(responses)}")
    return responses


def _scores(row: Row, count: int) -> list[float] | None:
    scores = row.get("scores")
    if scores is None:
        return None
    if not isinstance(scores, list) or len(scores) != count or not all(map(is_number, scores)):
        raise UserError(f"field 'scores' must be {count} finite numbers, one for each response")
    return scores


def _ranking(row: Row, count: int) -> list[int] | None:
    ranking = row.get("ranking")
    if ranking is None:
        return None
    integers = isinstance(ranking, list) and all(isinstance(i, int) and not isinstance(i, bool) for i in ranking)
    if not integers or sorted(ranking) != list(range(count)):
        raise UserError(
            f"field 'ranking' must hold each index from 0 to {count - 1} once, the best response's first, "
            f"got {ranking!r}"
        )
    return ranking


def read(row: Row, dropped: Dropped) -> Example | None:
    require(row, ["prompt", "responses"])
    prompt, responses = text_field(row, "prompt"), _responses(row)
    scores, ranking = _scores(row, len(responses)), _ranking(row, len(responses))
    if scores is not None:
        if len(set(scores)) < len(scores):
            dropped.add("tied scores")
            return None
        by_score = sorted(range(len(scores)), key=lambda i: -scores[i])
        if ranking not in (None, by_score):
            raise UserError(f"fields 'ranking' and 'scores' disagree: by score the order is {by_score}")
        ranking = by_score
    if ranking is None:
        raise UserError("a record without its field 'ranking' or 'scores'")
    ranked = tuple(responses[i] for i in ranking)
    return Example(prompt, ranked[0], ranked[-1], between=ranked[1:-1])
