"""Counts against labels and gold, worked out by hand."""

import math

import numpy as np
import pytest

from overopt.training.baselines import Baselines, counts_of
from overopt.types import Completion, PreferenceRecord, RankingRecord


def pair(chosen: str, rejected: str) -> PreferenceRecord:
    return PreferenceRecord("p", "prompt", Completion(chosen), Completion(rejected), {})


def test_counts() -> None:
    counts = counts_of(["the cat", "the dog", "The end", "a cow", "a hen", "the ox"])
    assert {name: count("The cat, the CAT: a dog.") for name, count in counts.items()} == {
        "length": 24,
        "words": 4,  # the, cat, a, dog
        "content": 2,  # `the` is in four of six, `a` in two: both more than a fifth
    }


def test_the_way_is_learnt_from_the_training_pairs() -> None:
    heldout = [pair("aa", "a"), pair("aaa", "a"), pair("b", "bb"), pair("c", "d")]
    gap = np.array([1.0, 1.0, 1.0, 1.0])
    for train, agreement in (([pair("xx", "x")], 2.5 / 4), ([pair("x", "xx")], 1.5 / 4), ([pair("x", "y")], 2.5 / 4)):
        row = Baselines(train, heldout).against(gap, np.ones(4), 1)
        assert row["baseline_length_agreement"] == agreement, "a tie is right by half"


def test_better_than_the_count_that_is_nearest_by_paired_standard_errors() -> None:
    # gold knows four of five pairs; the model orders all four, length three, different words two and two ties
    heldout = [pair("a b", "a"), pair("a b", "a"), pair("aaa", "b"), pair("a", "bbb"), pair("a b c", "a")]
    truth = np.array([1.0, 1.0, 1.0, 1.0, 0.0])
    row = Baselines([pair("a b", "a")], heldout).against(np.array([1.0, 2.0, 1.0, 1.0, -9.0]), truth, 1)
    assert row["baseline_length_agreement"] == row["baseline_words_agreement"] == 0.75
    # the model less length: 0, 0, 0, 1: mean 1/4, SE sqrt(3/16)/2; less words: 0, 0, 1/2, 1/2: SE 1/4 / 2
    assert (row["baseline_difference"], row["baseline_difference_se"]) == pytest.approx((0.25, math.sqrt(3) / 8))
    assert row["above_baselines"] == pytest.approx(2 / math.sqrt(3))


def test_counting_itself_is_no_better_than_counting() -> None:
    random = np.random.default_rng(0)
    texts = [" ".join(f"w{i}" for i in random.integers(0, 500, size=n)) for n in random.integers(2, 40, size=400)]
    records = [pair(a, b) for a, b in zip(texts[::2], texts[1::2], strict=True)]
    truth = random.normal(size=200)
    for count in counts_of(texts).values():
        gap = np.array([count(r.chosen.text) - count(r.rejected.text) for r in records])
        assert Baselines(records, records).against(gap, truth, 1)["above_baselines"] <= 0


def test_the_pairs_of_a_ranking_are_one_unit() -> None:
    heldout = [RankingRecord("p", "prompt", (Completion("a"), Completion("b"), Completion("c")), {}) for _ in range(2)]
    gap = np.array([1.0, 1, 1, 1, 1, -1])
    row = Baselines([pair("xx", "x")], heldout).against(gap, np.ones(6), 3)
    # all counts tie: 1/2, 1/2, 1/2 of the first and 1/2, 1/2, -1/2 of the second: mean 1/3, units' sums +-1/2
    assert (row["baseline_difference"], row["baseline_difference_se"]) == pytest.approx((1 / 3, math.sqrt(0.5) / 6))


def test_where_all_pairs_say_the_same_it_is_cut_and_where_none_is_clear_nothing_is_said() -> None:
    heldout = [pair("a", "bb"), pair("a", "bb")]
    found = Baselines([pair("xx", "x")], heldout)
    assert found.against(np.ones(2), np.ones(2), 1)["above_baselines"] == 1000.0
    assert found.against(-np.ones(2), np.ones(2), 1)["above_baselines"] == -1000.0
    assert found.against(np.ones(2), np.zeros(2), 1) == {}
