from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from overopt.errors import UserError
from overopt.tasks.formats import detect, ranking, read_examples
from overopt.tasks.formats.example import Example
from overopt.tasks.formats.ranking import read
from overopt.types import Dropped

ROW = {"prompt": "Name a fruit.", "responses": ["Bread.", "Pear.", "Leek."], "ranking": [1, 2, 0]}
RANKED = ("Pear.", "Leek.", "Bread.")


def test_the_ranking_names_the_best_first() -> None:
    example = read(ROW, Dropped())
    assert example == Example("Name a fruit.", "Pear.", "Bread.", between=("Leek.",))
    assert example is not None and example.ranked == RANKED
    assert detect(ROW) is ranking


def test_scores_rank_alone_or_beside_the_ranking() -> None:
    scored = {"prompt": ROW["prompt"], "responses": ROW["responses"], "scores": [-1, 2.5, 0]}
    assert detect(scored) is ranking
    for row in (scored, ROW | {"scores": [-1, 2.5, 0]}):
        example = read(row, Dropped())
        assert example is not None and example.ranked == RANKED
    with pytest.raises(UserError, match=r"'ranking' and 'scores' disagree: by score the order is \[0, 1, 2\]"):
        read(ROW | {"scores": [3, 2, 1]}, Dropped())


def test_two_responses_are_a_pair() -> None:
    assert read({"prompt": "a", "responses": ["b", "c"], "ranking": [1, 0]}, Dropped()) == Example("a", "c", "b")


def test_a_tie_ranks_nothing() -> None:
    dropped = Dropped()
    assert read(ROW | {"scores": [0, 1, 0]}, dropped) is None
    assert dropped.reasons == {"tied scores": 1}


@pytest.mark.parametrize("wrong", [[0, 1], [0, 1, 1], [1, 2, 3], [0, 1, True], ["0", "1", "2"], 0, [0.0, 1.0, 2.0]])
def test_what_is_no_permutation(wrong: Any) -> None:
    with pytest.raises(UserError, match="field 'ranking' must hold each index from 0 to 2 once, the best response's"):
        read(ROW | {"ranking": wrong}, Dropped())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"responses": ["one"], "ranking": [0]}, "'responses' needs 2 or more to rank, got 1"),
        ({"responses": "one"}, "'responses' must be a list of texts"),
        ({"responses": ["one", 2]}, "'responses' must be a list of texts"),
        ({"prompt": None}, "'prompt' must be text"),
        ({"scores": [1, 2]}, "'scores' must be 3 finite numbers"),
        ({"scores": [1, 2, "3"]}, "'scores' must be 3 finite numbers"),
        ({"scores": [1, 2, float("nan")]}, "'scores' must be 3 finite numbers"),
        ({"ranking": None}, "without its field 'ranking' or 'scores'"),
    ],
)
def test_wrong_fields(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(ROW | changes, Dropped())


def test_a_file_names_the_line_and_drops_repetitions(tmp_path: Path) -> None:
    path = tmp_path / "rankings.jsonl"
    same = ROW | {"responses": ["Pear.", "Pear.", "Leek."]}
    path.write_text("".join(json.dumps(row) + "\n" for row in (ROW, same)))
    dropped = Dropped()
    assert [e.ranked for e in read_examples(path, "auto", dropped)] == [RANKED]
    assert dropped.reasons == {"two ranked responses are identical": 1}
    path.write_text("".join(json.dumps(row) + "\n" for row in (ROW, ROW | {"ranking": [0, 0, 1]})))
    with pytest.raises(UserError, match=r"rankings.jsonl:2: field 'ranking'"):
        read_examples(path, "ranking", Dropped())
