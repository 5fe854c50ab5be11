from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from overopt.tasks.formats import read_examples
from overopt.tasks.formats.example import Example
from overopt.tasks.formats.ultrafeedback_pairs import read
from overopt.types import Dropped


def row(**ratings: str) -> dict[str, Any]:
    completions = [
        {"response": text, "annotations": {"helpfulness": {"Rating": rating}}} for text, rating in ratings.items()
    ]
    return {"instruction": "Why?", "completions": completions}


def test_the_best_completion_against_the_worst() -> None:
    assert read(row(a="3", b="5", c="1", d="4"), Dropped()) == Example("Why?", "b", "c", columns={})
    tied = read(row(a="5", b="1", c="1", d="5"), Dropped())
    assert tied is not None and tied.ranked == ("a", "b")  # the first of each


def test_completions_that_are_all_equal_are_counted() -> None:
    dropped = Dropped()
    assert read(row(a="3", b="3"), dropped) is None and read(row(a="N/A", b="3"), dropped) is None
    assert dropped.reasons == {"tied scores": 1, "a completion without a rating": 1}


def test_it_is_read_by_its_name_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(row(a="3", b="5", c="1")) + "\n")
    assert read_examples(path, "auto", Dropped())[0].ranked == ("b", "a", "c")
    assert read_examples(path, "ultrafeedback_pairs", Dropped())[0].ranked == ("b", "c")
