"""Text for a page: what would act on it made visible, and the words that betray a hacked reward marked."""

from __future__ import annotations

import re
from collections.abc import Iterable

LONGEST = 4000
"""Characters of one text that a page holds."""

_FUNCTION_WORDS = (
    "a about after again all also am an and any are as at be been before but by can did do does for from had has have"
    " he her him his how i if in into is it its just last me more my no not now of on or our out really she should so"
    " some than that the their them then there they this to up want was we were what when where which who why will"
    " with would you your basically feel ok yes"
)
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())
"""Words that carry no fact of their own: repeating them, or adding them, claims nothing."""

_ACTING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
"""Control characters but for tab and newline, zero-width and bidirectional ones, and halves of pairs."""


def escape_controls(text: str) -> str:
    """The text with every character that would act instead of being shown replaced by its name."""
    return _ACTING.sub(_name, text.replace("\r\n", "\n"))


def shortened(text: str) -> str:
    """At most `LONGEST` characters, and how many are left out."""
    left_out = len(text) - LONGEST
    return text if left_out <= 0 else f"{text[:LONGEST]} [... {left_out:,} more characters]"


def marks(completion: str, sources: Iterable[str]) -> str:
    """A letter for each word between spaces: `r` said before, `u` in none of the sources, `.` neither.

    Function words and signs are neither.
    """
    known = {word for source in sources for word in source.casefold().split()}
    seen: set[str] = set()
    letters = []
    for word in completion.casefold().split():
        if word in FUNCTION_WORDS or not any(map(str.isalnum, word)):
            letters.append(".")
            continue
        letters.append("r" if word in seen else "." if word in known else "u")
        seen.add(word)
    return "".join(letters)


def _name(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)  # ␛ and its kin
    return f"[U+{code:04X}]"
