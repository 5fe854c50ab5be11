"""Long posts are cut exactly as the published recipe cuts them, which asks the tokenizer after every single cut."""

from __future__ import annotations

import random

import pytest
from families import byte_level

from overopt.models.cutting import cut, encode_cut, is_cut_of
from overopt.models.text import Codec
from overopt.tasks.formats import tldr
from overopt.types import CUT, Completion, Dropped, PromptRecord

CODEC = Codec(byte_level(), "raw")
PIECES = [
    *["the", "cat", "sat", "on", "the", "mat", ".", "a", "short", "answer", "to", "the", "question", "Paris"],
    "naïve",
    "😀😀",
    "日本語",
    "....",
    "aaaa",
]


def rendered(post: str) -> str:
    return f"SUBREDDIT: r/cats\n\nTITLE: Why?\n\nPOST: {post}\n\nTL;DR:"


def record(post: str) -> PromptRecord:
    prompt = rendered(post)
    return PromptRecord("1", prompt, "yes", cuttable=tldr.cuttable(prompt))


def by_the_recipe(post: str, limit: int) -> str:
    """The rule as published: encode; while too long, cut at the last line end, or else the last character."""
    while post and len(CODEC.tokenizer.encode(rendered(post))) > limit:
        post = post[: post.rindex("\n")] if "\n" in post else post[:-1]
    return rendered(post)


@pytest.mark.parametrize("seed", range(12))
def test_posts_are_cut_as_by_the_recipe(seed: int) -> None:
    rng = random.Random(seed)
    joints = [" ", " ", " ", "", "  "] + (["\n", "\n\n"] if seed % 3 else [])
    post = "".join(rng.choice(PIECES) + rng.choice(joints) for _ in range(rng.randint(20, 120)))
    empty = len(CODEC.tokenizer.encode(rendered("")))
    for limit in (empty, empty + 7, empty + 40, 10_000):
        dropped = Dropped()
        ((found, ids, _),) = encode_cut(CODEC, [record(post)], [], limit, dropped)
        assert found.prompt == by_the_recipe(post, limit)
        assert ids == CODEC.tokenizer.encode(found.prompt)
        assert dropped.reasons == ({CUT: 1} if limit < 10_000 else {})


def test_only_long_prompts_with_a_part_to_cut_change() -> None:
    post = "the cat sat\non the mat\nthe dog"
    fixed = PromptRecord("2", rendered(post), "no")
    short = record("the cat")
    limit = len(CODEC.tokenizer.encode(rendered("the cat sat\non the mat")))
    dropped = Dropped()
    texts = [[Completion("yes")], [Completion("no")], [Completion("yes"), Completion("no")]]
    found = list(encode_cut(CODEC, [record(post), fixed, short], texts, limit, dropped))
    assert [row.prompt for row, _, _ in found] == [rendered("the cat sat\non the mat"), fixed.prompt, short.prompt]
    assert found[1][0] is fixed and found[2][0] is short
    assert [len(completions) for _, _, completions in found] == [1, 1, 2]
    assert found[0][2] == [CODEC.completion(Completion("yes"), found[0][0])]
    assert dropped.reasons == {CUT: 1}


def test_a_prompt_whose_other_parts_are_too_long_loses_its_post_and_stays_too_long() -> None:
    dropped = Dropped()
    ((found, ids, _),) = encode_cut(CODEC, [record("the cat")], [], 5, dropped)
    assert found.prompt == rendered("") and len(ids) > 5
    assert dropped.reasons == {}  # the caller counts it as too long


def test_few_tokens_are_asked_of_a_post_without_line_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    long = record("the cat sat on the mat . " * 100)
    calls: list[str] = []
    ask = Codec.prompt
    monkeypatch.setattr(Codec, "prompt", lambda self, r: calls.append(r.prompt) or ask(self, r))
    limit = len(CODEC.tokenizer.encode(rendered("the cat"))) + 10
    assert len(CODEC.tokenizer.encode(cut(CODEC, long, 900, limit).prompt)) <= limit
    assert len(calls) < 100  # of 2,500 characters


def test_what_is_a_cut_of_a_prompt() -> None:
    whole = record("one\ntwo\nthree")
    assert all(is_cut_of(rendered(post), whole) for post in ("one\ntwo\nthree", "one\ntwo", "on", ""))
    assert not any(
        is_cut_of(text, whole) for text in (rendered("two"), rendered("one\ntwo\nthree!"), "one", "", "TL;DR:")
    )
    assert is_cut_of("a", PromptRecord("3", "a")) and not is_cut_of("", PromptRecord("3", "a"))
