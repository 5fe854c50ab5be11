"""A gold reward of one's own for records from a file: what is true of a completion, however it is scored."""

from __future__ import annotations

from typing import Any


def key_words(prompts: list[str], completions: list[str], words: list[list[str]], **columns: Any) -> list[float]:
    """How many of a record's `words` the completion has, less a tenth for each word that it spends."""
    return [
        sum(word in completion.split() for word in wanted) - 0.1 * len(completion.split())
        for completion, wanted in zip(completions, words, strict=True)
    ]
