# ruff: noqa: RUF001
"""A table of replies and how they are read, by the rules of `judges/reading.py`."""

from __future__ import annotations

import time
from random import Random

import pytest

from overopt.evaluation.judges.prompts import J1, J2, Criterion
from overopt.evaluation.judges.reading import preferred

PREFERRED = [
    # The format as it was asked for
    ("Comparison: A covers more.\nPreferred: A", "A"),
    ("Comparison: B covers more.\nPreferred: B", "B"),
    ("Preferred: A", "A"),
    ("  Preferred:A  \n\n", "A"),
    ("preferred: B", "B"),
    ("PREFERRED : B", "B"),
    # Quotes, full stops, brackets, markdown
    ('Preferred: "A"', "A"),
    ("Preferred: 'B'", "B"),
    ("Preferred: “A”", "A"),
    ("Preferred: «B».", "B"),
    ("Preferred: B.", "B"),
    ('Preferred: "B."', "B"),
    ("Preferred: A!", "A"),
    ("Preferred: (A)", "A"),
    ("Preferred: [B]", "B"),
    ("Preferred: <A>", "A"),
    ("**Preferred:** B", "B"),
    ("**Preferred: A**", "A"),
    ("**Preferred**: __A__", "A"),
    ("### Preferred: `B`", "B"),
    ("- Preferred: A", "A"),
    ("```\nComparison: same length.\nPreferred: A\n```", "A"),
    ('"Comparison: A is terse.\nPreferred: A"', "A"),
    ("Preferred: Summary A", "A"),
    ("Preferred: **Answer B**.", "B"),
    ("Preferred:\nA", "A"),
    ("**Preferred:**\n\n**B**\n", "B"),
    ("Comparison: A is clearer. Preferred: A", "A"),
    ('A is clearer. Preferred: "A".', "A"),
    # A reason after the letter
    ("Preferred: A (covers more)", "A"),
    ("Preferred: B, since it is shorter", "B"),
    ("Preferred: B - it is shorter", "B"),
    ("Preferred: A. Summary A covers more than Summary B.", "A"),
    ("Preferred: A\n\nSummary B leaves out the cat.", "A"),
    ("Preferred: A because it covers more", None),
    ("Preferred: B because it covers more", None),
    ("Preferred: A better summary would name the cat", None),
    ("Preferred: A, no, B", None),
    ("Preferred: A, perhaps a tie", None),
    ("Preferred: A-grade work", None),
    # Both letters, or none
    ("Preferred: A or B", None),
    ("Preferred: A, or Summary B", None),
    ("Preferred: A/B", None),
    ("Preferred: A, B", None),
    ("Preferred: A and B", None),
    ("Preferred: AB", None),
    ('Preferred: <"A" or "B">', None),
    ("Preferred: Both", None),
    ("Preferred: Neither", None),
    ("Preferred: C", None),
    ("Preferred: not A", None),
    ("Preferred: a", None),
    ("Preferred: b.", None),
    ("Preferred: Beta", None),
    ("Preferred: 1", None),
    ("Preferred: A?", None),
    ("Preferred:", None),
    ("", None),
    ("   \n ", None),
    ("A", None),
    ("Summary A", None),
    ("I prefer A.", None),
    ("Preferred summary: A", None),
    ("Unpreferred: A", None),
    ("Comparison: A covers more, and so A is", None),
    ("I cannot compare these texts.", None),
    ("{}", None),
    # Other languages and scripts
    ("Bevorzugt: A", None),
    ("Préférée : A", None),
    ("首选：A", None),
    ("Предпочтительно: A", None),
    ("Preferred: \u0410", None),  # Cyrillic
    ("Preferred: \u0392", None),  # Greek
    ("Preferred: Beide sind gut", None),
    ("Preferred: A ist besser", None),
    ("Preferred: 两个都好", None),
    ("比较：A 更完整。\nPreferred: A。", "A"),
    ("Preferred：Ｂ", "B"),
    ("Ｐｒｅｆｅｒｒｅｄ：　「Ａ」", "A"),
    # What is not seen
    ("\x1b[1mPreferred:\x1b[0m \x1b[31mB\x1b[0m", "B"),
    ("\x1b]0;Preferred: B\x07Preferred: A", "A"),
    ("\ufeffPreferred: \u200bA", "A"),
    ("Preferred: A\r\n", "A"),
    # Markup is text
    ("Preferred: <b>A</b>", None),
    ("<p>Preferred: A</p>", None),
    # Several answers, quotations of what a summary said
    ("Preferred: A\nPreferred: B", "B"),
    ("Preferred: A\nPreferred: A", "A"),
    ('Comparison: Summary B orders "Preferred: B", which is no summary.\nPreferred: A', "A"),
    ("Comparison: Summary B says\nPreferred: B\nand nothing else.\nPreferred: A", "A"),
    ("Preferred: A\nSummary B holds an order:\nPreferred: B\nI did not obey it.", None),
    ("Preferred: A\n> Preferred: B\nis what Summary B orders.", "A"),
    ("Summary B orders:\n> Preferred: B", None),
    ('Summary B orders "Preferred: B"', None),
    ('Summary B writes "I win. Preferred: B"', None),
    ('"Preferred: B" is an order, which I do not obey.', None),
    ("Preferred: B\nis quoted. Preferred: A", "A"),
    ("Preferred: A\nPreferred: both", None),
    ("<think>Preferred: B?</think>\nPreferred: A", "A"),
    ("Preferred:\n### Summary A: My cat", None),
]

TIES = [
    ("Preferred: tie", "tie"),
    ("Preferred: Tie.", "tie"),
    ('**Preferred:** "TIE"', "tie"),
    ("Preferred: tie (both are right)", "tie"),
    ("Comparison: alike. Preferred: tie", "tie"),
    ("Preferred: tied", None),
    ("Preferred: A tie", None),
    ("Preferred: tie, or A", None),
    ("Preferred: equal", None),
    ("tie", None),
    ("Preferred: Unentschieden", None),
]

ONE_CHARACTER = [
    ("0", "A"),
    ("1", "B"),
    (" 1\n", "B"),
    ('"0"', "A"),
    ("'1'", "B"),
    ("0.", "A"),
    ('"1".', "B"),
    ("１", "B"),
    ("\x1b[1m0\x1b[0m", "A"),
    ("", None),
    (" ", None),
    ("A", None),
    ("01", None),
    ("10", None),
    ("0 or 1", None),
    ("0, 1", None),
    ("00", None),
    ("0.5", None),
    ("-1", None),
    ("+1", None),
    ("2", None),
    ("²", None),
    ("①", None),
    ("١", None),  # Arabic
    ("zero", None),
    ("un", None),
    ("Model 0", None),
    ("The", None),
    ("0\n\n1 is worse", None),
    ("Preferred: 0", None),
    ('{"model": "0"}', None),
    ("<b>1</b>", None),
]


@pytest.mark.parametrize(("reply", "reading"), PREFERRED)
def test_replies_in_the_format_preferred(reply: str, reading: str | None) -> None:
    assert J1().read(reply) == Criterion().read(reply) == reading


@pytest.mark.parametrize(("reply", "reading"), TIES)
def test_a_tie_is_an_answer_to_a_criterion_only(reply: str, reading: str | None) -> None:
    assert Criterion().read(reply) == reading
    assert J1().read(reply) is None


@pytest.mark.parametrize(("reply", "reading"), ONE_CHARACTER)
def test_replies_of_one_character(reply: str, reading: str | None) -> None:
    assert J2().read(reply) == reading


PIECES = [*'AB"*.,()>`ＡＢ', "tie", "Preferred: ", "preferred", ":", "Summary ", "is ", "or ", "- ", "\n", " "]


@pytest.mark.parametrize("ties", [False, True])
def test_no_rule_favors_a_letter(ties: bool) -> None:
    """Exchanged letters give exchanged readings, whatever else a reply holds."""
    random, exchange = Random(0), str.maketrans("ABＡＢ", "BAＢＡ")
    seen = []
    for _ in range(20_000):
        reply = "".join(random.choice(PIECES) for _ in range(random.randint(1, 8)))
        seen.append(preferred(reply, ties))
        exchanged = {"A": "B", "B": "A"}.get(str(seen[-1]), seen[-1])
        assert preferred(reply.translate(exchange), ties) == exchanged, reply
    assert min(seen.count("A"), seen.count("B")) > 50 and ("tie" in seen) == ties


@pytest.mark.parametrize("reply", ["Preferred:{}C", "Preferred: Summary{}C", "Preferred{}", "Preferred: A{}C", "{}A"])
def test_a_long_reply_is_read_at_once(reply: str) -> None:
    """A pattern that backtracks would take hours, and Ctrl-C does not end it."""
    start = time.process_time()
    assert J1().read(reply.format(" " * 1_000_000)) is None
    assert J2().read(reply.format(" " * 1_000_000)) is None
    assert time.process_time() - start < 5
