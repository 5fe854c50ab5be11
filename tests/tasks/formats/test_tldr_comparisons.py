from __future__ import annotations

from typing import Any

import pytest

from overopt.errors import UserError
from overopt.tasks.formats import detect, tldr_comparisons
from overopt.tasks.formats.example import Example
from overopt.tasks.formats.tldr_comparisons import read
from overopt.types import Dropped

PROMPT = "SUBREDDIT: r/cats\n\nTITLE: She meows\n\nPOST: All night.\n\nTL;DR:"
POST = {"id": "t3_1", "subreddit": "cats", "title": "She meows", "post": "All night."}
NEWS = {"id": "n1", "article": "A cat was seen.\n\nIt ran.", "title": "Cat", "site": "cnn"}
SUMMARIES = [
    {"text": " Cats.", "policy": "sup1", "note": None},
    {"text": " My cat meows.", "policy": "ref", "note": "x"},
]


def row(**changes: Any) -> dict[str, Any]:
    return {
        "info": POST,
        "summaries": SUMMARIES,
        "choice": 1,
        "worker": "w",
        "batch": "batch3",
        "split": "train",
        "extra": {"confidence": 7},
    } | changes


COLUMNS = {
    "id": "t3_1",
    "worker": "w",
    "batch": "batch3",
    "split": "train",
    "chosen_policy": "ref",
    "rejected_policy": "sup1",
    "confidence": 7,
}


def test_a_comparison_as_published() -> None:
    assert detect(row()) is tldr_comparisons
    assert read(row(), Dropped()) == Example(PROMPT, " My cat meows.", " Cats.", columns=COLUMNS)
    other = read(row(choice=0, extra={"confidence": None}), Dropped())
    assert other is not None and (other.reference, other.rejected) == (" Cats.", " My cat meows.")
    assert (other.columns["chosen_policy"], "confidence" in other.columns) == ("sup1", False)


def test_a_comparison_of_summaries_of_news() -> None:
    found = read(row(info=NEWS, batch="cnndm2", split="valid2"), Dropped())
    assert found is not None and found.prompt == "Article:\nA cat was seen.\n\nIt ran.\n\nTL;DR:"
    empty = read(row(info=NEWS | {"post": None, "subreddit": None}), Dropped())  # as the Hub's copy writes it
    assert empty is not None and empty.prompt == found.prompt


def test_summaries_as_columns() -> None:
    columns = {"text": [" Cats.", " My cat meows."], "policy": ["sup1", "ref"], "note": [None, "x"]}
    assert read(row(summaries=columns), Dropped()) == read(row(), Dropped())


def test_a_comparison_as_the_recipe_prepared_it() -> None:
    prepared = {
        "query": PROMPT,
        "query_token": [3],
        "query_token_len": 1,
        "chosen": " My cat meows.<|endoftext|>",
        "chosen_token": [4, 0],
        "chosen_token_len": 2,
        "rejected": " Cats.<|endoftext|>",
        "rejected_token": [5, 0],
        "rejected_token_len": 2,
        "chosen_policy": "ref",
        "rejected_policy": "sup1",
        "policies": "ref--sup1",
        "query_chosen": f"{PROMPT} My cat meows.<|endoftext|>",
        "query_chosen_token": [3, 4, 0],
        "query_chosen_token_len": 3,
        "query_chosen_token_response_label": [50277, 4, 0],
    }
    policies = {"chosen_policy": "ref", "rejected_policy": "sup1", "policies": "ref--sup1"}
    assert detect(prepared) is tldr_comparisons
    assert read(dict(prepared), Dropped()) == Example(PROMPT, " My cat meows.", " Cats.", columns=policies)
    both = read(row() | prepared, Dropped())
    assert both is not None and both.reference == " My cat meows."
    assert dict(both.columns) == COLUMNS | {"policies": "ref--sup1"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"choice": 2}, "field 'choice' must be 0 or 1, the place of the better summary, got 2"),
        ({"choice": True}, "field 'choice' must be 0 or 1"),
        ({"summaries": SUMMARIES[:1]}, "field 'summaries' must hold two summaries, each with its 'text'"),
        ({"summaries": [{"text": "a"}, {"policy": "ref"}]}, "field 'summaries' must hold two"),
        ({"summaries": "a"}, "field 'summaries' must hold two"),
        ({"info": {"id": "x"}}, r"field 'info' must hold a post \(subreddit, title, post\) or a news article"),
        ({"info": "x"}, "field 'info' must hold a post"),
        ({"info": {"post": "a"}}, "without its field 'subreddit'"),
    ],
)
def test_malformed_records_are_the_users_error(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(row(**changes), Dropped())


def test_a_record_without_its_choice() -> None:
    without = {name: value for name, value in row().items() if name != "choice"}
    with pytest.raises(UserError, match="without its field 'choice'"):
        read(without, Dropped())
