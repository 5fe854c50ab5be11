"""The plain form: `prompt` with `chosen` and `rejected`, with one of `completion`, `reference`, `response`, or alone.

Each is a string, or a list of chat messages (`role`, `content`). Completions written as messages end with the
assistant's turn; the turns before it are the prompt, where there is no `prompt` field.
"""

from __future__ import annotations

from typing import Any

from overopt.errors import UserError
from overopt.tasks.formats.example import Example, Message, Row, present, require
from overopt.types import Dropped

REFERENCE_FIELDS = ("completion", "reference", "response")


def matches(row: Row) -> bool:
    return True


def _messages(value: list[Any], name: str) -> list[Message]:
    for message in value:
        if not isinstance(message, dict) or not all(isinstance(message.get(key), str) for key in ("role", "content")):
            raise UserError(f"field '{name}': every chat message needs 'role' and 'content', both text")
    if not value:
        raise UserError(f"field '{name}': an empty list of chat messages")
    return [{"role": message["role"], "content": message["content"]} for message in value]


def _completion(row: Row, name: str) -> tuple[list[Message], str]:
    """The turns before the completion, if it came with any, and its text."""
    value = row[name]
    if isinstance(value, str):
        return [], value
    if not isinstance(value, list):
        raise UserError(f"field '{name}' must be text or a list of chat messages, got {type(value).__name__}")
    *before, last = _messages(value, name)
    if last["role"] != "assistant":
        raise UserError(f"field '{name}': the last message must be the assistant's, not the {last['role']}'s")
    return before, last["content"]


def _flatten(messages: list[Message]) -> str:
    """Chat messages as text, to tell prompts apart: a lone user turn is the same prompt as its bare string."""
    if [message["role"] for message in messages] == ["user"]:
        return messages[0]["content"]
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in messages)


def _completion_fields(row: Row) -> list[str]:
    if "chosen" in row or "rejected" in row:
        require(row, ["chosen", "rejected"])
        return ["chosen", "rejected"]
    found = [name for name in REFERENCE_FIELDS if name in row]
    if len(found) > 1:
        raise UserError(f"fields '{found[0]}' and '{found[1]}' both name the reference; keep one")
    return found


def read(row: Row, dropped: Dropped) -> Example | None:
    fields = _completion_fields(row)
    completions = [_completion(row, name) for name in fields]
    texts = [text for _, text in completions]
    reference, rejected = (*texts, None, None)[:2]
    prompt = row.get("prompt")
    columns = {name: value for name, value in row.items() if name not in ("prompt", "messages", *fields)}
    if isinstance(prompt, str):
        return Example(prompt, reference, rejected, columns=columns)
    if prompt is None:
        if not completions or not all(before for before, _ in completions):
            raise UserError(f"a record without its field 'prompt' (fields present: {present(row)})")
        prompt = completions[0][0]
        if any(before != prompt for before, _ in completions):
            dropped.add("chosen and rejected differ before the last turn")
            return None
    elif not isinstance(prompt, list):
        raise UserError(f"field 'prompt' must be text or a list of chat messages, got {type(prompt).__name__}")
    messages = _messages(prompt, "prompt")
    chat = tuple(messages)
    return Example(_flatten(messages), reference, rejected, messages=chat, chat_only=True, columns=columns)
