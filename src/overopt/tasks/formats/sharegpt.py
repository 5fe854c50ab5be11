"""ShareGPT: `conversations` of `from` and `value` (or role and content), and perhaps `system`, `chosen`, `rejected`."""

from __future__ import annotations

from typing import Any

from overopt.errors import UserError
from overopt.tasks.formats import conversation, generic
from overopt.tasks.formats.example import Example, Message, Row, text_field
from overopt.types import Dropped

NEEDS = "conversations, or conversation (ShareGPT)"
ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "assistant": "assistant",
    "model": "assistant",
    "system": "system",
    "tool": "tool",
    "observation": "tool",
}


def matches(row: Row) -> bool:
    return _name(row) in row and "prompt" not in row


def _name(row: Row) -> str:
    return "conversation" if "conversation" in row and "conversations" not in row else "conversations"


def _turn(item: Any, name: str) -> Message:
    if not isinstance(item, dict):
        raise UserError(f"field '{name}': every turn needs 'from' and 'value', got {type(item).__name__}")
    if "role" in item:
        return item
    speaker = item.get("from")
    if not isinstance(speaker, str) or not isinstance(item.get("value"), str):
        raise UserError(f"field '{name}': every turn needs 'from' and 'value', both text")
    if speaker not in ROLES:
        raise UserError(
            f"field '{name}': from {speaker!r} is none of {', '.join(ROLES)}; calls of tools are read as 'messages' "
            "with 'tool_calls'"
        )
    others = {key: value for key, value in item.items() if key not in ("from", "value")}
    return others | {"role": ROLES[speaker], "content": item["value"]}


def _turns(value: Any, name: str) -> list[Message]:
    return [_turn(item, name) for item in (value if isinstance(value, list) else [value])]


def read(row: Row, dropped: Dropped) -> Example | None:
    name = _name(row)
    turns = _turns(row.get(name), name)
    rest = {key: value for key, value in row.items() if key not in (name, "system")}
    if "system" in row and text_field(row, "system"):
        turns = [{"role": "system", "content": row["system"]}, *turns]
    if "chosen" not in row and "rejected" not in row:
        return conversation.read({**rest, "messages": turns}, dropped)
    answers = {key: _turns(row[key], key) for key in ("chosen", "rejected") if isinstance(row.get(key), dict | list)}
    return generic.read({**rest, **answers, "prompt": turns}, dropped)
