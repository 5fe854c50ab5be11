from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import pytest

from overopt.engine.packing import Tree
from overopt.errors import UserError
from overopt.models.text import Codec, word_tokenizer
from overopt.training.data import (
    Limits,
    batches,
    common_size,
    encode_demonstrations,
    encode_preferences,
    encode_prompts,
    encode_views,
    in_template,
    of_size,
    random_stream,
)
from overopt.types import Completion, Dropped, Preference, PreferenceRecord, PromptRecord, preference

CODEC = Codec(word_tokenizer(["<pad>", "<eos>", "a", "b", "c"]), "raw")
LIMITS = Limits(prompt=3, completion=2)


def test_prompts_that_do_not_fit_are_counted() -> None:
    records = [PromptRecord(str(i), text) for i, text in enumerate(["a b", "a b c", "a b c a", "", "c c c c c"])]
    dropped = Dropped()
    prompts = encode_prompts(CODEC, records, LIMITS, dropped)
    assert [(p.record.prompt_id, p.tokens) for p in prompts] == [("0", [2, 3]), ("1", [2, 3, 4])]
    assert dropped.reasons == {"prompt longer than 3 tokens": 2, "prompt without tokens": 1}


def test_demonstrations_carry_eos_within_the_limit() -> None:
    records = [
        PromptRecord("0", "a", "b"),
        PromptRecord("1", "a", "b c"),
        PromptRecord("2", "a"),
        PromptRecord("3", "a", ""),
    ]
    dropped = Dropped()
    trees = encode_demonstrations(CODEC, records, LIMITS, dropped)
    assert trees == [Tree([2], [[3, 1]]), Tree([2], [[1]])]
    assert dropped.reasons == {"completion longer than 2 tokens": 1, "no reference": 1}


def test_a_completion_that_goes_on_after_its_end_is_left_out() -> None:
    codec = Codec(word_tokenizer(["<pad>", "<eos>", "a", "b", "c"]), "raw", frozenset({4}))  # c ends a turn, too
    records = [PromptRecord("0", "a", "b"), PromptRecord("1", "a", "c b"), PromptRecord("2", "a", "<eos> b")]
    dropped = Dropped()
    assert encode_demonstrations(codec, records, Limits(3, 9), dropped) == [Tree([2], [[3, 1]])]
    assert dropped.reasons == {"completion that goes on after its end": 2}
    pair = PreferenceRecord("x", "a", Completion("b"), Completion("b c b"))
    assert encode_preferences(codec, [pair], Limits(3, 9), dropped) == []


def test_of_a_pair_the_chosen_comes_first_and_the_longer_decides() -> None:
    def pair(chosen: str, rejected: str, ended: bool = True) -> PreferenceRecord:
        return PreferenceRecord("x", "a", Completion(chosen), Completion(rejected, ended))

    dropped = Dropped()
    trees = encode_preferences(CODEC, [pair("b", "c c", False), pair("b", "c c"), pair("b b", "")], LIMITS, dropped)
    assert trees == [Tree([2], [[3, 1], [4, 4]])]
    assert dropped.reasons == {"completion longer than 2 tokens": 2}


def test_streams_are_named() -> None:
    first = random_stream(0, "a").random(4)
    assert np.array_equal(first, random_stream(0, "a").random(4))
    assert not np.array_equal(first, random_stream(0, "b").random(4))
    assert not np.array_equal(first, random_stream(1, "a").random(4))


def test_every_pass_draws_each_record_at_most_once() -> None:
    stream = batches(range(7), 3, random_stream(0, "x"), "batch_size", Dropped())
    drawn = list(islice(stream, 4))
    first, second = set(drawn[0] + drawn[1]), set(drawn[2] + drawn[3])
    assert len(first) == len(second) == 6  # the seventh waits for another pass
    assert drawn[:2] != drawn[2:]


def test_too_few_for_a_batch() -> None:
    assert sorted(next(batches("abc", 3, random_stream(0, "x"), "batch_size", Dropped()))) == ["a", "b", "c"]
    dropped = Dropped()
    dropped.add("prompt longer than 5 tokens", 4)
    dropped.add("long prompt, cut to fit", 3)
    with pytest.raises(UserError) as caught:
        batches("ab", 3, random_stream(0, "x"), "batch_size", dropped)
    assert str(caught.value) == (
        "batch_size: a batch needs 3 records, but there are 2 to train on; left out: 4 prompt longer than 5 tokens"
    )


def test_long_posts_are_cut_in_every_reader_and_stay_the_records_prompts() -> None:
    """`a` is the layout around the post, `b` and `c` are its words; three tokens are allowed."""
    long = {"prompt": "a b\nc c a", "cuttable": (2, 7)}
    dropped = Dropped()
    (prompt,) = encode_prompts(CODEC, [PromptRecord("0", **long)], LIMITS, dropped)
    assert (prompt.record.prompt, prompt.record.cuttable, prompt.tokens) == ("a b a", (2, 3), [2, 3, 2])
    assert encode_demonstrations(CODEC, [PromptRecord("0", reference="b", **long)], LIMITS, dropped) == [
        Tree([2, 3, 2], [[3, 1]])
    ]
    pair = PreferenceRecord("0", chosen=Completion("b"), rejected=Completion("c"), **long)
    views = encode_views(CODEC, [pair], ["{prompt}"], LIMITS, dropped)
    assert views == [[Tree([2, 3, 2], [[3, 1], [4, 1]])] * 2]
    assert dropped.reasons == {"long prompt, cut to fit": 3}
    assert encode_prompts(CODEC, [PromptRecord("0", "a a b a a", cuttable=(4, 5))], LIMITS, dropped) == []
    assert dropped.reasons["prompt longer than 3 tokens"] == 1


def ranked(*texts: str, ended: bool = True, meta: dict[str, Any] | None = None) -> Preference:
    return preference("x", "a", tuple(Completion(text, ended) for text in texts), meta or {})


def test_an_empty_completion_that_did_not_end_leaves_its_record_out() -> None:
    dropped = Dropped()
    assert encode_preferences(CODEC, [ranked("b", "", ended=False), ranked("b", "")], LIMITS, dropped) == [
        Tree([2], [[3, 1], [1]])
    ]
    assert dropped.reasons == {"completion without tokens": 1}


def test_different_texts_of_the_same_tokens_are_left_out() -> None:
    dropped = Dropped()
    same = [ranked("b", "b  "), ranked("d", "e"), ranked("b", "c", " b ")]  # d and e are unknown words
    assert encode_preferences(CODEC, [*same, ranked("b", "c")], LIMITS, dropped) == [Tree([2], [[3, 1], [4, 1]])]
    assert dropped.reasons == {"two ranked responses are identical as tokens": 3}
    assert encode_preferences(CODEC, [ranked("b", "b")], LIMITS, dropped)  # a policy may sample the same twice


def test_the_same_completions_under_other_prompts() -> None:
    dropped = Dropped()
    prompts = ["b {prompt}", "{prompt} c c"]
    views = encode_views(CODEC, [ranked("b", "c", "a")], prompts, LIMITS, dropped)
    completions = [[3, 1], [4, 1], [2, 1]]
    assert views == [[Tree([2], completions), Tree([3, 2], completions), Tree([2, 4, 4], completions)]]
    assert encode_views(CODEC, [ranked("b", "c")], ["{prompt} c c c"], LIMITS, dropped) == []
    assert dropped.reasons == {"prompt longer than 3 tokens": 1}


def test_of_a_chat_the_last_turn_is_set_into_the_template() -> None:
    turns = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": "a"},
    ]
    record = ranked("b", "c", meta={"messages": turns})
    under_it = in_template("b {prompt}", record)
    assert [turn["content"] for turn in under_it.meta["messages"]] == ["hi", "yes", "b a"]
    assert under_it.prompt == "b a" and turns[-1]["content"] == "a"


def test_of_a_chat_that_the_assistant_began_to_answer_the_users_last_turn_is_set_into_the_template() -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "Sure, "}]
    under_it = in_template("b {prompt}", ranked("b", "c", meta={"messages": turns}))
    assert [turn["content"] for turn in under_it.meta["messages"]] == ["b a", "Sure, "]


def test_most_records_say_how_many_completions_a_run_ranks() -> None:
    pair, triple, four = ranked("a", "b"), ranked("a", "b", "c"), ranked("a", "b", "c", "d")
    assert common_size([]) == 2
    assert common_size([pair, triple, triple, four]) == 3
    assert common_size([pair, pair, four, four]) == 4
    dropped = Dropped()
    assert of_size([pair, triple, four, triple], 3, dropped) == [triple, triple]
    assert dropped.reasons == {
        "ranking of 2 completions, not of 3 as most": 1,
        "ranking of 4 completions, not of 3 as most": 1,
    }
