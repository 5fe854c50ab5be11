"""Whole conversations, `messages` of role and content: the last answer is learned, the turns before it are its prompt.

A conversation that does not end with the assistant's turn is a prompt. A `prompt` field must agree with the turns at
either end.
"""

from __future__ import annotations

from overopt.tasks.formats import chat, generic
from overopt.tasks.formats.example import Example, Row
from overopt.types import Dropped

NEEDS = "messages"


def matches(row: Row) -> bool:
    others = ("chosen", "rejected", *generic.REFERENCE_FIELDS)
    return isinstance(row.get("messages"), list) and not any(name in row for name in others)


def read(row: Row, dropped: Dropped) -> Example | None:
    turns = chat.messages(row.get("messages"), "messages")
    rest = {name: value for name, value in row.items() if name != "messages"}
    if turns[-1]["role"] != "assistant":
        return generic.read({**rest, "prompt": turns}, dropped)
    if len(turns) == 1 and "prompt" not in row:
        dropped.add("a conversation of one answer")
        return None
    return generic.read({**rest, "completion": turns}, dropped)
