"""Replies of a judge in the form that each prompt asks for; which text it prefers depends on the two texts alone."""

from __future__ import annotations

import zlib
from typing import Any


def reply_in_form(text: str, key: str) -> list[dict[str, Any]]:
    """The choices of a reply to a question of `j1`, `j2` or `criterion`."""
    draw = zlib.crc32(text.encode()) % 2
    one_character = "the single character 0 or 1" in text
    said = "01"[draw] if one_character else f"Comparison: one of them is better.\nPreferred: {'AB'[draw]}"
    return [{"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}]
