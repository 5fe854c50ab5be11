"""The end of a raw prompt after which a completion has the ids that it has after the whole prompt."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable
from typing import Any

TAIL = 64
"""Characters of a prompt's end that are looked at."""
SKIPPED = 2
"""Words at the beginning of the tail whose limits may be others than in the whole text."""

_LOOKS_BEHIND = re.compile(r"\(\?<[=!]|\\[bBGAK]")


def word_end(tokenizer: Any) -> Callable[[str], str]:
    """A function that cuts a prompt before a word near its end, or returns it whole.

    Most tokenizers first cut a text into words by a pattern that reads forwards, and then each word into tokens: what
    stands before a word changes nothing in it and behind it. Others, and prompts that end within what may become one
    of the tokenizer's added tokens, are not cut.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or not _works_word_by_word(json.loads(backend.to_str())):
        return lambda prompt: prompt
    contents = [token.content for token in tokenizer.added_tokens_decoder.values()]
    begun = {content[:size] for content in contents for size in range(1, len(content))}
    longest = max(map(len, begun), default=0)

    def cut(prompt: str) -> str:
        tail = prompt[-TAIL:]
        if len(prompt) <= TAIL or any(tail[-size:] in begun for size in range(1, longest + 1)):
            return prompt
        if not tail.isascii() and not unicodedata.is_normalized("NFC", tail):
            return prompt
        words = backend.pre_tokenizer.pre_tokenize_str(tail)
        starts = [start for _, (start, _) in words[SKIPPED:] if tail[start] in " \n" and not tail[start - 1].isspace()]
        return tail[starts[-1] :] if starts else prompt

    return cut


def _works_word_by_word(description: Any) -> bool:
    """Whether a tokenizer, as its tokenizer.json describes it, changes no character and splits by one pattern."""
    model, normalizer, first = (description.get(name) or {} for name in ("model", "normalizer", "pre_tokenizer"))
    steps = first.get("pretokenizers", [first])
    patterns = sum(step.get("type") == "Split" or bool(step.get("use_regex")) for step in steps)
    return (
        model.get("type") == "BPE"
        and not model.get("dropout")
        and normalizer.get("type") in (None, "NFC")
        and patterns == 1
        and all(_is_local(step) for step in steps)
    )


def _is_local(step: Any) -> bool:
    """Whether a step decides where words begin by the characters there and behind."""
    if step.get("type") == "Split":
        pattern = (step.get("pattern") or {}).get("Regex")
        plain = step.get("behavior") == "Isolated" and not step.get("invert")
        return plain and pattern is not None and not _LOOKS_BEHIND.search(pattern)
    return step.get("type") == "Digits" or (step.get("type") == "ByteLevel" and not step.get("add_prefix_space"))
