import pytest

from overopt.records import describe_dropped
from overopt.types import CUT


def test_a_set_that_lost_more_than_two_percent_says_how_many_of_how_many_and_which_limit() -> None:
    dropped = {"pairs": {"training file: empty prompt": 1, "completion longer than 64 tokens": 2}, "prompts": {}}
    assert describe_dropped(dropped, {"pairs": 97, "prompts": 5}) == [
        "pairs: 3 of 100 records are left out (1 x training file: empty prompt; 2 x completion longer than 64 tokens, "
        "see max_completion_tokens)"
    ]


@pytest.mark.parametrize(("lost", "said"), [(2, False), (3, True)])
def test_two_in_a_hundred_are_not_worth_a_word(lost: int, said: bool) -> None:
    assert bool(describe_dropped({"prompts": {"prompt longer than 9 tokens": lost}}, {"prompts": 100 - lost})) is said


def test_what_was_asked_for_is_no_loss() -> None:
    dropped = {
        "evaluation": {"evaluation prompts: beyond evaluation_prompts": 90, "training file: blank line": 9},
        "prompts": {"training prompts: repeated prompt": 50, CUT: 20},
        "pairs": {"training file: valid1: another split": 90},
    }
    assert describe_dropped(dropped, {"evaluation": 10, "prompts": 50, "pairs": 10}) == []


def test_that_no_held_out_pair_is_left_is_said_even_if_none_was_dropped() -> None:
    (sentence,) = describe_dropped({}, {"held-out pairs": 0})
    assert sentence == (
        "held-out pairs: 0 of 0 records are left out: no held-out pair is left, and no accuracy on any is recorded"
    )
    (sentence,) = describe_dropped({"held-out pairs": {"completion longer than 64 tokens": 7}}, {"held-out pairs": 0})
    assert "7 of 7" in sentence and "no held-out pair is left" in sentence


def test_runs_without_the_counts_say_nothing() -> None:
    assert describe_dropped({"pairs": {"empty prompt": 10}}, {}) == []
