from random import Random
from statistics import fmean, pstdev

import pytest

from overopt.errors import UserError
from overopt.tasks import miniature
from overopt.tasks.miniature import SLOTS, Miniature, legal_bigrams, write_post, write_posts
from overopt.types import Completion, Dropped, PromptRecord

FACTS = {"WHO": "mom", "ACT": "sold", "OBJ": "car", "PLACE": "work", "ASK": "wait"}
RECORD = PromptRecord("0", "", None, {"facts": FACTS})
PERFECT = "mom sold my car at work should i wait ?"


def gold(text: str, ended: bool = True) -> float | None:
    return Miniature().gold(RECORD, Completion(text, ended))


# --- Gold, each value worked by hand


def test_a_perfect_summary_is_worth_zero() -> None:
    assert gold(PERFECT) == 0.0
    assert str(gold(PERFECT)) == "0.0"  # not -0.0, which would print as a loss


def test_spacing_is_no_matter() -> None:
    assert gold(f"  {PERFECT.replace(' ', '  ')} ") == 0.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mom sold my car", -2.0),  # two facts missing
        ("dad sold my car at work should i wait ?", -1.7),  # one missing, one wrong
        ("mom sold my car at work on june should i wait ?", -0.7),  # a fact that the post does not tell
        ("mom sold my car at work at work should i wait ?", -1.5),  # a repetition; PLACE -> at is illegal
        ("mom sold my car should i wait ? at work", -0.5),  # "? at": a question comes last; a place may end a summary
        ("", -5.5),  # five facts missing; start -> end is illegal
        ("mom sold my car work should i wait ?", -0.5),  # a place needs its preposition
        ("mom sold my car at work wait", 0.0),  # bigrams are all that is judged of the grammar
    ],
)
def test_penalties_add_up(text: str, expected: float) -> None:
    assert gold(text) == expected


def test_a_missing_end_costs_one_and_no_bigram() -> None:
    assert gold(PERFECT, ended=False) == -1.0
    assert gold(f"{PERFECT} my") == -1.0  # "? my" and "my end"
    assert gold(f"{PERFECT} my", ended=False) == -1.5  # "? my"


def test_length_costs_beyond_eighteen_words() -> None:
    filler = " ".join(["my"] * 8)  # "my my" is illegal seven times; "? my" once
    assert gold(f"{PERFECT} {filler}", ended=False) == -(1.0 + 0.5 * 8)
    assert gold(f"{PERFECT} {filler} my my", ended=False) == -(1.0 + 0.5 * 10 + 0.3 * 2)


def test_equal_penalties_are_exactly_equal() -> None:
    """0.3 + 0.3 + ... and 0.7 + 0.5 + ... must not differ in the last bit: a tie would become a win."""
    golds = {miniature.gold(FACTS, ["dad", "dad", "mom", "mom", "?", ","] + ["my"] * n, False) for n in range(40)}
    assert all(value == round(value, 1) for value in golds)


def test_parts_count_what_gold_punishes() -> None:
    parts = miniature.gold_parts(FACTS, ["dad", "sold", "sold", "car", "on", "june"], ended=False)
    assert parts == {
        "missing": 3,  # mom, work, wait
        "wrong": 2,  # dad, june
        "repeated": 1,
        "illegal": 1,  # ACT ACT
        "over_length": 0,
        "unended": 1,
    }


# --- The grammar


def test_the_enumerated_bigrams_are_those_of_many_references() -> None:
    seen = set()
    for record in write_posts("bigrams", 6_000):
        words = [miniature.SLOT_OF.get(word, word) for word in (record.reference or "").split()]
        seen |= set(zip(["<start>", *words], [*words, "<eos>"], strict=True))
    assert seen == legal_bigrams()


def test_vocabulary_has_142_words_and_covers_every_text() -> None:
    vocabulary = Miniature().vocabulary() or []
    assert len(vocabulary) == len(set(vocabulary)) == 142
    assert vocabulary[:2] == ["<pad>", "<eos>"]
    used = {word for record in write_posts("words", 1_000) for word in f"{record.prompt} {record.reference}".split()}
    assert used < set(vocabulary)


def test_no_word_fills_two_slots() -> None:
    assert len(miniature.SLOT_OF) == sum(len(words) for words in SLOTS.values()) == 74


def test_one_post_word_for_word() -> None:
    record = write_post(Random(0), "a")
    assert record.prompt == (
        "SUBREDDIT: r/work POST: so my girlfriend just painted the car . we were at airport . should i complain . "
        "i said that on christmas . they never apologize . it was on christmas . english is hard . TL;DR:"
    )
    assert record.reference == (
        "basically my girlfriend painted the car in the airport , last christmas should i complain ?"
    )
    assert " ".join(record.meta["facts"].values()) == "girlfriend painted car airport christmas complain"


def test_a_post_tells_its_facts_and_ends_at_the_question() -> None:
    for record in write_posts("facts", 200):
        words = record.prompt.split()
        facts = record.meta["facts"]
        assert set(facts.values()) <= set(words)
        assert (words[0], words[2], words[-1]) == ("SUBREDDIT:", "POST:", "TL;DR:")
        assert {"WHO", "ACT", "OBJ"} < set(facts) and 5 <= len(facts) <= 7


def test_the_distribution_is_the_one_that_was_measured() -> None:
    """Means over 4,000 posts, within 3 standard errors of those over 200,000 (-1.630, 1.097, 33.94, 9.18)."""
    records = write_posts("distribution", 4_000)
    golds = [Miniature().gold(record, Completion(record.reference or "")) or 0.0 for record in records]
    assert fmean(golds) == pytest.approx(-1.630, abs=0.052)
    assert pstdev(golds) == pytest.approx(1.097, abs=0.04)
    assert fmean(len(record.prompt.split()) for record in records) == pytest.approx(33.94, abs=0.33)
    assert fmean(len((record.reference or "").split()) for record in records) == pytest.approx(9.18, abs=0.13)


# --- Streams


def test_streams_are_the_seeds_own_and_a_longer_one_begins_with_the_shorter() -> None:
    task = Miniature(demonstration_count=20, prompt_count=20, reward_test_count=20, evaluation_count=20)
    streams = [
        task.demonstrations(3, Dropped()),
        task.prompts(3, Dropped()),
        task.pair_prompts(3, 20),
        task.reward_test_prompts(3),
        task.evaluation(3, Dropped())[1],
        task.demonstrations(4, Dropped()),
    ]
    texts = {record.prompt for stream in streams for record in stream}
    ids = {record.prompt_id for stream in streams for record in stream}
    assert len(texts) == len(ids) == 120
    assert task.pair_prompts(3, 40)[:20] == task.pair_prompts(3, 20)


def test_seeds_of_a_split_share_its_evaluation_posts() -> None:
    task = Miniature(evaluation_count=30)
    assert task.evaluation(0, Dropped()) == task.evaluation(99, Dropped())
    assert task.evaluation(100, Dropped()) == task.evaluation(102, Dropped())
    assert [task.evaluation(seed, Dropped())[0] for seed in (0, 99, 100)] == ["tuning", "tuning", "test"]
    tuning, test = ({record.prompt for record in task.evaluation(seed, Dropped())[1]} for seed in (0, 100))
    assert not tuning & test


def test_default_sizes() -> None:
    task = Miniature()
    assert len(task.prompts(0, Dropped())) == 2_000
    assert len(task.reward_test_prompts(0)) == 600
    assert len(task.evaluation(0, Dropped())[1]) == 256
    assert task.demonstration_count == 16_000


def test_there_are_no_stored_pairs() -> None:
    with pytest.raises(UserError, match="sampled"):
        Miniature().preferences(0, Dropped())
    with pytest.raises(UserError, match="sampled"):
        Miniature().evaluation_preferences(0, Dropped())
