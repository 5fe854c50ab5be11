"""How a judge's reply is read. Only the reply is read, never the texts that were judged.

J1 and `criterion` ask for `Preferred: A` on a line of its own, and are read by these rules:

1. ANSI sequences, byte order marks and zero-width characters are left out; full-width letters and signs count as the
   ordinary ones. Letters of other scripts that look alike do not, nor do words of other languages.
2. An answer is the letter alone. It may stand in quotes, brackets or bold marks, after the word for the thing judged
   ("Summary A"), on the line after `Preferred:`, and before a full stop or a reason that punctuation sets off and in
   which no letter stands alone. "Both", "A or B", "A/B" are no answers, nor is a letter that a word follows: "A better
   one" begins with an article, and so that neither side gains, "B is better" is none either.
3. The reply's last line decides if it begins with `Preferred:`, since the format puts the answer there. So a judge
   that first quotes a summary which holds such a line, and then answers, is understood. Without any line of that kind,
   the last line may end in `Preferred: A`, outside quotation marks.
4. If something else follows, all lines that begin with `Preferred:` must give the same answer: a quotation after the
   answer can make a reply invalid, but cannot turn it round. Lines that begin with `>` or a quotation mark are
   quotations.
5. All else is invalid: nothing is guessed.

J2 asks for one character: the reply is 0 or 1 alone, in quotes or with a full stop at most.
"""

from __future__ import annotations

import re
from typing import Literal

Reading = Literal["A", "B", "tie"]
"""What a reply says: the text that stands first, the second, or neither is better."""

QUOTES = "\"'`“”„‘’«»‹›「」『』"  # noqa: RUF001
ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")
INVISIBLE = dict.fromkeys([0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF])
FULL_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: 0x20}

# No pattern has two neighbors that match the same characters: a reply of a million spaces is read at once.
KEY = r"(?i:preferred)[\s*_]*:"
THING = r"(?i:summary|answer|response|output|option)(?=\s)"
LETTER = r"(?P<letter>[AB]|(?i:tie))(?![^\W_])"
OPENING, CLOSING = rf"[\s*_<(\[{{{QUOTES}]*", rf"[\s*_>)\]}}{QUOTES}]*"

BROKEN_LINE = re.compile(rf"({KEY})(?=[\s*_]*\n)[\s*_]*")
"""`Preferred:` and the line ends after it, where the answer stands on the next line."""
ANSWER_LINE = re.compile(rf"[\s*_#`+•-]*{KEY}(?P<answer>.*)")
ANSWER = re.compile(rf"{OPENING}(?:{THING}{OPENING})?{LETTER}{CLOSING}")
REASON = re.compile(r"(?:[.,;:!(。、–—]|(?<=\s)-)(?!\s*(?i:or|and)\b)|\Z")
LONE_LETTER = re.compile(rf"{THING}\s+[AB](?!\w)|(?P<lone>(?<!\w)(?:[AB]|(?i:tie))(?!\w))")
ENDING = rf"[\s*_(\[]*(?:{THING}\s+)?(?P<quote>\"?){LETTER}(?P=quote)[\s*_)\].]*\Z"
LAST_WORDS = re.compile(rf"(?!>).*(?<![\w{QUOTES}]){KEY}{ENDING}")
"""A last line that ends in an answer which is no quotation."""


def preferred(text: str, ties: bool = False) -> Reading | None:
    """Return the answer of a reply in the format `Preferred: A`, None if there is none; a tie only with `ties`."""
    whole = BROKEN_LINE.sub(r"\1 ", _unquoted(_plain(text)))
    lines = [line.strip() for line in whole.splitlines() if line.strip()]
    found = [ANSWER_LINE.match(line) for line in lines]
    answers = [_answer(line["answer"], ties) for line in found if line]
    if found and found[-1]:
        return answers[-1]
    if lines and (last := LAST_WORDS.match(lines[-1])):
        return _reading(last["letter"], ties)
    return answers[-1] if len(set(answers)) == 1 else None


def one_character(text: str, first: str, second: str) -> Reading | None:
    """Return the answer of a reply that must be one of two characters alone, None if it is neither."""
    readings: dict[str, Reading] = {first: "A", second: "B"}
    return readings.get(_unquoted(_unquoted(_plain(text)).removesuffix(".")))


def _answer(text: str, ties: bool) -> Reading | None:
    """What follows `Preferred:` on its line."""
    found = ANSWER.match(text)
    if found is None or not REASON.match(text, found.end()):
        return None
    alone = any(letter["lone"] for letter in LONE_LETTER.finditer(text, found.end()))
    return None if alone else _reading(found["letter"], ties)


def _reading(letter: str, ties: bool) -> Reading | None:
    readings: dict[str, Reading] = {"A": "A", "B": "B"}
    return readings.get(letter, "tie" if ties else None)


def _unquoted(text: str) -> str:
    """A text without white space and quotation marks around all of it."""
    text = text.strip()
    return text[1:-1].strip() if len(text) > 1 and text[0] in QUOTES and text[-1] in QUOTES else text


def _plain(text: str) -> str:
    """A text without what is not seen, full-width letters as ordinary ones."""
    return ANSI.sub("", text).translate(INVISIBLE).translate(FULL_WIDTH)
