"""Text for people: control characters made visible, long texts cut, and words marked that betray a hacked reward."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

LONGEST = 4000
"""Most characters of one text on a page."""

_FUNCTION_WORDS = (
    "a about after again all also am an and any are as at be been before but by can did do does for from had has have"
    " he her him his how i if in into is it its just last me more my no not now of on or our out really she should so"
    " some than that the their them then there they this to up want was we were what when where which who why will"
    " with would you your basically feel ok yes"
)
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())
"""Words that state no fact, so that repeating or adding them claims nothing."""

_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
"""Control characters except tab and newline, zero-width and bidirectional characters, and lone surrogates."""


def escape_controls(text: str) -> str:
    """The text with control characters replaced by visible names, such as `␛` or `[U+202E]`."""
    return _CONTROLS.sub(_name, text.replace("\r\n", "\n"))


def escape_tree(tree: Any) -> Any:
    """Plain data with control characters made visible in all of its text."""
    if isinstance(tree, str):
        return escape_controls(tree)
    if isinstance(tree, Mapping):
        return {escape_controls(str(name)): escape_tree(value) for name, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [escape_tree(value) for value in tree]
    return tree


def shortened(text: str, longest: int = LONGEST) -> str:
    """The first `longest` characters, and the number of those left out."""
    left_out = len(text) - longest
    return text if left_out <= 0 else f"{text[:longest]} [... {left_out:,} more characters]"


def marks(completion: str, sources: Iterable[str]) -> str:
    """A letter for each word: `r` if it repeats an earlier word, `u` if no source contains it, otherwise `.`.

    Function words and punctuation get `.`.
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
        return chr(0x2400 + code)  # the symbols for control characters, such as ␛
    return f"[U+{code:04X}]"


def percent(value: float | None) -> str:
    return "?" if value is None else f"{value:.0%}"


def signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.2f}"
