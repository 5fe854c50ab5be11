"""Rewards of one's own, as TRL takes them: texts and columns by name, a list of numbers back."""

from __future__ import annotations

from typing import Any


def facts_told(completions: list[str], facts: list[dict[str, str]], **columns: Any) -> list[float]:
    """The share of a post's facts that its summary names; `facts` is a column of the miniature's records."""
    return [
        sum(word in completion.split() for word in told.values()) / len(told)
        for completion, told in zip(completions, facts, strict=True)
    ]


def brevity(prompts: list[str], completions: list[str], **columns: Any) -> list[float]:
    """Minus the summary's length, as a share of the post's."""
    return [
        -len(completion.split()) / len(prompt.split()) for prompt, completion in zip(prompts, completions, strict=True)
    ]
