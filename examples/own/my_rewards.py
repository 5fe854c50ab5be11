"""Your own rewards, with TRL's signature: they take texts and columns by name and return one number per completion."""

from __future__ import annotations

from typing import Any


def facts_told(completions: list[str], facts: list[dict[str, str]], **columns: Any) -> list[float]:
    """Return the fraction of a post's facts that its summary names; `facts` is a column of the miniature's records."""
    return [
        sum(word in completion.split() for word in told.values()) / len(told)
        for completion, told in zip(completions, facts, strict=True)
    ]


def brevity(prompts: list[str], completions: list[str], **columns: Any) -> list[float]:
    """Return minus the ratio of the summary's length to the post's, in words."""
    return [
        -len(completion.split()) / len(prompt.split()) for prompt, completion in zip(prompts, completions, strict=True)
    ]
