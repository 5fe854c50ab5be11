from typing import Any

import pytest

from overopt.errors import UserError
from overopt.tasks.formats.example import Example
from overopt.tasks.formats.labelled import label, paired

ASKED = {"prompt": "a", "completion": "b"}


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ({**ASKED, "label": True}, True),
        ({**ASKED, "label": False}, False),
        ({**ASKED, "kto_tag": False}, False),
        ({**ASKED, "label": 0}, False),
        ({**ASKED, "label": 1.0}, True),
        ({**ASKED, "label": "False"}, False),  # of a CSV
        ({"messages": [], "label": False}, False),
        ({"text": "a", "label": 0}, None),  # a class
        ({**ASKED, "label": -1}, False),
        ({**ASKED, "label": "Undesirable"}, False),
        ({**ASKED, "kto_tag": "good"}, True),
        ({**ASKED, "label": 3}, None),
        ({**ASKED, "label": "maths"}, None),
        (ASKED, None),
    ],
)
def test_a_label_is_a_truth(row: dict[str, Any], found: bool | None) -> None:
    assert label(row) is found


def test_a_tag_that_says_neither_is_refused() -> None:
    with pytest.raises(UserError, match="field 'kto_tag' must be true or false, got 'meh'"):
        label({**ASKED, "kto_tag": "meh"})


def rated(prompt: str, text: str, rating: float) -> Example:
    return Example(prompt, text, rating=rating)


def test_of_rated_completions_the_best_are_paired_with_the_worst() -> None:
    five = [rated("x", "mean 4", 3), rated("x", "1", 1), rated("x", "2", 2), rated("x", "7", 7), rated("x", "5", 5)]
    again = [rated("x", "mean 4", 5)]  # by another person
    tied = [rated("y", "a", 6), rated("y", "b", 6), rated("z", "alone", 7)]
    pair = Example("w", "c", "r")
    pairs, left = paired([*five, pair, *tied, *again])
    assert [(p.prompt, p.reference, p.rejected, p.rating) for p in pairs] == [
        ("x", "7", "1", None),
        ("x", "5", "2", None),
        ("w", "c", "r", None),
    ]
    assert left == 4  # "mean 4", a, b, alone


def test_a_prompt_with_both_kinds_makes_pairs_and_the_rest_is_counted() -> None:
    good = [Example("x", text, desirable=True) for text in ("g1", "g2", "g3")]
    bad = [Example("x", text, desirable=False) for text in ("b1", "b2")]
    lone = [Example("y", "g", desirable=True), Example("z", "b", desirable=False)]
    pair = Example("w", "c", "r")
    pairs, left = paired([bad[0], good[0], lone[0], good[1], pair, bad[1], lone[1], good[2]])
    assert [(p.prompt, p.reference, p.rejected) for p in pairs] == [
        ("x", "g1", "b1"),
        ("x", "g2", "b2"),
        ("w", "c", "r"),
    ]
    assert left == 3
