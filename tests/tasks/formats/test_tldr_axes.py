from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from overopt.errors import UserError
from overopt.tasks.formats import detect, tldr_axes
from overopt.tasks.formats.example import Example
from overopt.tasks.formats.tldr_axes import read
from overopt.tasks.local import Local
from overopt.types import Completion, Dropped

PROMPT = "SUBREDDIT: r/cats\n\nTITLE: She meows\n\nPOST: All night.\n\nTL;DR:"
INFO = {"id": "t3_1", "subreddit": "cats", "title": "She meows", "post": "All night.", "site": None}


def row(text: str = " My cat meows.", overall: Any = 6, info: dict[str, Any] = INFO, **summary: Any) -> dict[str, Any]:
    axes = {"overall": overall, "accuracy": 7, "coverage": 5, "coherence": 7, "compatible": None}
    found = {"text": text, "policy": "sup1", "note": None, "axes": axes} | summary
    return {"info": info, "summary": found, "worker": "w", "batch": "batch_axis", "split": "valid1"}


def test_a_rating_as_published() -> None:
    assert detect(row()) is tldr_axes
    columns = {
        "id": "t3_1",
        "worker": "w",
        "batch": "batch_axis",
        "split": "valid1",
        "policy": "sup1",
        "overall": 6,
        "accuracy": 7,
        "coverage": 5,
        "coherence": 7,
    }
    assert read(row(), Dropped()) == Example(PROMPT, " My cat meows.", rating=6.0, columns=columns)
    news = read(row(info={"id": "n1", "article": "A cat ran."}), Dropped())
    assert news is not None and news.prompt == "Article:\nA cat ran.\n\nTL;DR:"


def test_a_summary_without_its_overall_rating_is_counted() -> None:
    dropped = Dropped()
    assert read(row(overall=None), dropped) is None
    assert dropped.reasons == {"no rating on the axis 'overall'": 1}


def test_ratings_serve_as_pairs_and_as_demonstrations(tmp_path: Path) -> None:
    path = tmp_path / "axis_evals.jsonl"
    rows = [row(" Good.", 7), row(" Bad.", 2), row(" Fair.", 4)]
    rows += [row(f" {n}.", n, INFO | {"post": f"Post {k}."}) for k in range(20) for n in (3, 5)]
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    task, dropped = Local(path=str(path), holdout=0.01), Dropped()
    pairs = {pair.prompt: (pair.chosen, pair.rejected) for pair in task.preferences(0, dropped)}
    assert pairs.pop(PROMPT) == (Completion("Good."), Completion("Bad."))
    assert set(pairs.values()) == {(Completion("5."), Completion("3."))}
    assert sum(dropped.reasons.values()) == 1  # Fair.
    assert [d.reference for d in task.demonstrations(0, Dropped())][:3] == ["Good.", "Bad.", "Fair."]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"overall": "7"}, "its axis 'overall' must be a number, got '7'"),
        ({"text": None}, "field 'summary' must hold its 'text', and its ratings as 'axes'"),
        ({"axes": [7]}, "field 'summary' must hold its 'text', and its ratings as 'axes'"),
        ({"info": {"id": "x"}}, "field 'info' must hold a post"),
    ],
)
def test_malformed_records_are_the_users_error(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(row(**changes), Dropped())
