from __future__ import annotations

import pytest

from overopt.analysis.text import LONGEST, escape_controls, marks, shortened


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\tb\nc\r\nd", "a\tb\nc\nd"),
        ("\x1b[31mred", "␛[31mred"),
        ("\x00\x07", "␀␇"),
        ("a\u200bb\ufeff", "a[U+200B]b[U+FEFF]"),
        ("\u202eevil\u2069", "[U+202E]evil[U+2069]"),
        ("\x7f\x9b", "[U+007F][U+009B]"),
        ("\ud800", "[U+D800]"),
        ("\u2028\U000e0041", "[U+2028][U+E0041]"),
        ("</script><b>שלום 你好 é", "</script><b>שלום 你好 é"),
    ],
)
def test_characters_that_act_are_named(text: str, shown: str) -> None:
    assert escape_controls(text) == shown


def test_a_very_long_text_is_cut_and_says_by_how_much() -> None:
    assert shortened("a" * LONGEST) == "a" * LONGEST
    assert shortened("a" * 100_000) == "a" * LONGEST + " [... 96,000 more characters]"


def test_repeated_and_unsupported_words_are_marked() -> None:
    post = "my mom sold the car . it was on monday"
    assert marks("mom sold car , sold Car and the dog", [post]) == "....rr..u"
    assert marks("dog dog", [post]) == "ur"
    assert marks("a a the the , ,", [post]) == "......"
    assert marks("", [post]) == ""
