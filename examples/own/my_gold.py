"""Your own gold reward for records from a file: the true quality of a completion, whatever its proxy score."""

from __future__ import annotations

from typing import Any


def key_words(prompts: list[str], completions: list[str], words: list[list[str]], **columns: Any) -> list[float]:
    """Return for each completion how many of the record's `words` it contains, minus 0.1 per word of its length."""
    return [
        sum(word in completion.split() for word in wanted) - 0.1 * len(completion.split())
        for completion, wanted in zip(completions, words, strict=True)
    ]
