"""TL;DR: Reddit posts and their summaries (OpenAI's `tldr_3_filtered`), as published or as the recipe prepared them.

Published: `subreddit`, `title`, `post`, `summary`. Prepared: `query`, `reference_response`, and their tokens, which are
not read. The prompt is `SUBREDDIT: r/...`, `TITLE: ...`, `POST: ...` and `TL;DR:`, with blank lines between them.
"""

from __future__ import annotations

import re

from overopt.errors import UserError
from overopt.tasks.formats.example import Example, Row, text_field
from overopt.types import Dropped

NEEDS = "subreddit, title, post, summary (TL;DR); or query, reference_response"
RAW = ("subreddit", "title", "post")
END = "<|endoftext|>"
"""The end token's text, which prepared completions carry; every completion gets its own model's."""
REPEATING = re.compile(r"_token$|_token_len$|_response_label$|^query_(reference_response|chosen|rejected)$")
"""Columns that repeat the texts, as tokens or joined."""
BEFORE = re.compile(r"SUBREDDIT: r/[^\n]*\n{1,2}TITLE: .*?\n{1,2}POST: |Article:\n", re.DOTALL)
"""What stands before a post or an article; with one line end between the parts, too, as some copies write it."""
AFTER = "TL;DR:"


def matches(row: Row) -> bool:
    return "prompt" not in row and (set(RAW) <= set(row) or {"query", "reference_response"} <= set(row))


def read(row: Row, dropped: Dropped) -> Example | None:
    kept = columns(row, ("post", "summary", "query", "reference_response"))
    if "query" in row and not set(RAW) <= set(row):
        prompt, reference = text_field(row, "query"), text_field(row, "reference_response")
        return Example(prompt.strip(), reference.removesuffix(END), columns=kept)
    return Example(post_prompt(row), text_field(row, "summary") if "summary" in row else None, columns=kept)


def post_prompt(fields: Row) -> str:
    """The prompt of a post."""
    subreddit, title, post = (text_field(fields, name) for name in RAW)
    return f"SUBREDDIT: r/{subreddit}\n\nTITLE: {title}\n\nPOST: {post}\n\nTL;DR:"


def article_prompt(fields: Row) -> str:
    """The prompt of a news article; without a line end at its end, since the recipe strips it."""
    return f"Article:\n{text_field(fields, 'article')}\n\nTL;DR:"


def info_prompt(row: Row) -> str:
    """The prompt of a row whose field `info` holds a post or a news article (CNN/DM)."""
    info = row.get("info")
    if isinstance(info, dict):
        if isinstance(info.get("post"), str):
            return post_prompt(info)
        if isinstance(info.get("article"), str):
            return article_prompt(info)
    raise UserError("field 'info' must hold a post (subreddit, title, post) or a news article (article)")


def info_columns(row: Row, used: tuple[str, ...]) -> Row:
    """The columns of a row with `info`: its id, what is not used, and the confidence of the label if there is one."""
    extra = row.get("extra")
    confidence = extra.get("confidence") if isinstance(extra, dict) else None
    return {"id": row["info"].get("id"), **columns(row, (*used, "extra")), "confidence": confidence}


def columns(row: Row, used: tuple[str, ...]) -> Row:
    """The fields of a row that are neither used nor repeat others as tokens."""
    return {name: value for name, value in row.items() if name not in used and not REPEATING.search(name)}


def is_of_split(own: str, wanted: str) -> bool:
    """Whether a record's own split is the one that is asked for; `validation` is `valid1` and `valid2` together."""
    return own == wanted or (wanted in ("validation", "valid") and own.startswith("valid"))


def cuttable(prompt: str) -> tuple[int, int] | None:
    """Start and end of the post, or of the article, in a prompt of this layout; None for any other prompt."""
    bare = prompt if prompt.endswith(AFTER) else prompt.rstrip()
    found = BEFORE.match(prompt) if bare.endswith(AFTER) else None
    if found is None:
        return None
    start, end = found.end(), len(bare) - len(AFTER)
    lines = len(bare[max(start, end - 2) : end]) - len(bare[max(start, end - 2) : end].rstrip("\n"))
    return (start, end - lines) if lines else None
