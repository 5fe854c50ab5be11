from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from overopt.errors import UserError
from overopt.tasks.formats import detect, read_examples, tldr
from overopt.tasks.formats.example import Example
from overopt.types import Dropped

RAW = {
    "id": "t3_1",
    "subreddit": "cats",
    "title": "She meows",
    "post": "All night.\n\nWhy?",
    "summary": "My cat meows.",
}
PROMPT = "SUBREDDIT: r/cats\n\nTITLE: She meows\n\nPOST: All night.\n\nWhy?\n\nTL;DR:"
POST = (PROMPT.index("All night"), PROMPT.index("\n\nTL;DR:"))
PREPARED = {
    "query": PROMPT,
    "query_token": [50277, 3, 4],
    "reference_response": " My cat meows.<|endoftext|>",
    "reference_response_token": [5, 0],
    "reference_response_token_len": 2,
    "query_reference_response": f"{PROMPT} My cat meows.<|endoftext|>",
    "query_reference_response_token": [3, 4, 5, 0],
    "query_reference_response_token_response_label": [50277, 50277, 5, 0],
    "query_reference_response_token_len": 4,
}


def test_a_post_as_published() -> None:
    assert detect(RAW) is tldr
    rest = {"id": "t3_1", "subreddit": "cats", "title": "She meows"}
    assert tldr.read(RAW, Dropped()) == Example(PROMPT, "My cat meows.", columns=rest)
    queries = {name: value for name, value in RAW.items() if name != "summary"}
    assert tldr.read(queries, Dropped()) == Example(PROMPT, columns=rest)


def test_a_post_as_the_recipe_prepared_it() -> None:
    assert detect(PREPARED) is tldr
    assert tldr.read(dict(PREPARED), Dropped()) == Example(PROMPT, " My cat meows.", columns={})
    cut = PREPARED | {"query": PROMPT.replace("\n\nWhy?", "")}
    both = tldr.read(RAW | cut, Dropped())  # the post itself is there, so this run's own limit decides
    assert both is not None and (both.prompt, both.reference) == (PROMPT, "My cat meows.")


def test_the_post_is_found_in_every_layout_of_the_prompt() -> None:
    assert tldr.cuttable(PROMPT) == POST
    assert tldr.cuttable(f"{PROMPT} ") == POST
    collapsed = PROMPT.replace("\n\n", "\n")  # as one public copy has it
    start, end = tldr.cuttable(collapsed) or (0, 0)
    assert collapsed[start:end] == "All night.\nWhy?"
    ends_in_lines = "SUBREDDIT: r/a\n\nTITLE: b\n\nPOST: c\n\n\n\nTL;DR:"
    start, end = tldr.cuttable(ends_in_lines) or (0, 0)
    assert ends_in_lines[start:end] == "c\n\n"
    quoting = "SUBREDDIT: r/a\n\nTITLE: b\n\nPOST: c\n\nTL;DR: d\n\nTL;DR:"
    start, end = tldr.cuttable(quoting) or (0, 0)
    assert quoting[start:end] == "c\n\nTL;DR: d"
    article = "Article:\nNews.\n\nMore.\n\nTL;DR:"
    start, end = tldr.cuttable(article) or (0, 0)
    assert article[start:end] == "News.\n\nMore."


@pytest.mark.parametrize("text", ["", "TL;DR:", f"{PROMPT} Cats.", f"Summarize: {PROMPT}", "POST: a\n\nTL;DR:"])
def test_no_post_is_found_elsewhere(text: str) -> None:
    assert tldr.cuttable(text) is None


def test_many_line_ends_take_no_time() -> None:
    hostile = "SUBREDDIT: r/a\n\nTITLE: " + "\n" * 200_000 + "POST" * 50_000
    assert tldr.cuttable(hostile) is None
    assert tldr.cuttable(f"{hostile}TL;DR:") is None


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_whatever_the_format_a_prompt_of_this_layout_may_be_cut(tmp_path: Path) -> None:
    user, answer = {"role": "user", "content": PROMPT}, {"role": "assistant", "content": " My cat meows."}
    other = {"role": "assistant", "content": " Cats."}
    rows: dict[str, dict[str, Any]] = {
        "published": RAW,
        "prepared": PREPARED,
        "completion": {"prompt": PROMPT, "completion": " My cat meows."},
        "messages": {"messages": [user, answer]},
        "pair": {"prompt": PROMPT, "chosen": [user, answer], "rejected": [user, other], "messages": [user, answer]},
    }
    for name, row in rows.items():
        (example,) = read_examples(write(tmp_path / f"{name}.jsonl", row), "auto", Dropped())
        assert (example.prompt, example.cuttable, example.messages) == (PROMPT, POST, None), name
        assert not example.chat_only and (example.reference or "").strip() == "My cat meows."
    system = {"messages": [{"role": "system", "content": "Be brief."}, user, answer]}
    (example,) = read_examples(write(tmp_path / "system.jsonl", system), "auto", Dropped())
    assert example.chat_only and example.cuttable is None


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"subreddit": "a", "title": "b", "post": 3}, "field 'post' must be text, got int"),
        ({"subreddit": "a", "title": "b"}, "a record without its field 'post'"),
        ({"query": "a"}, "a record without its field 'reference_response'"),
        (RAW | {"summary": ["a"]}, "field 'summary' must be text, got list"),
    ],
)
def test_malformed_records_are_the_users_error(row: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        tldr.read(row, Dropped())
