"""Chat messages in data files: all keys are kept; content that is not text is refused, or left out and counted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from overopt.errors import UserError
from overopt.tasks.formats.example import Message
from overopt.types import Dropped

CALLS = ("tool_calls", "function_call")
"""Keys of an assistant's message that may replace its content."""
BEYOND_TEXT = (*CALLS, "reasoning_content", "reasoning", "thinking")
"""Keys of an answer that training would ignore, since it learns the content alone."""


def messages(value: Any, name: str) -> list[Message]:
    """The messages of a field with all their keys; a content of several text parts is joined, nulls are dropped."""
    if isinstance(value, dict):
        value = [value]  # a lone message
    if not isinstance(value, list):
        raise UserError(f"field '{name}' must be text or a list of chat messages, got {type(value).__name__}")
    if not value:
        raise UserError(f"field '{name}': an empty list of chat messages")
    return [_message(item, name) for item in value]


def _message(item: Any, name: str) -> Message:
    if not isinstance(item, dict) or not isinstance(item.get("role"), str):
        raise UserError(f"field '{name}': every chat message needs 'role' and 'content', both text")
    kept = {key: value for key, value in item.items() if value is not None or key == "content"}
    content = kept.get("content")
    if isinstance(content, list):
        kept["content"] = "".join(_part(part, name) for part in content)
    elif not (isinstance(content, str) or (content is None and any(item.get(key) for key in CALLS))):
        raise UserError(f"field '{name}': every chat message needs 'role' and 'content', both text")
    return kept


def _part(part: Any, name: str) -> str:
    if isinstance(part, str):
        return part
    kind = part.get("type") if isinstance(part, dict) else type(part).__name__
    text = part.get("text") if isinstance(part, dict) and kind in ("text", None) else None
    if not isinstance(text, str):
        raise UserError(f"field '{name}': a message holds a part of type {kind!r}; only text is trained on")
    return text


def answer(turns: Sequence[Message], name: str, dropped: Dropped) -> tuple[list[Message], str] | None:
    """The turns before the assistant's last, and its text; None, counted, if it holds more than text."""
    *before, last = turns
    if last["role"] != "assistant":
        raise UserError(f"field '{name}': the last message must be the assistant's, not the {last['role']}'s")
    if last.get("weight") == 0:  # OpenAI's format: do not train on this turn
        dropped.add("the answer has weight 0")
        return None
    beyond = next((key for key in BEYOND_TEXT if last.get(key)), None)
    if beyond is not None:
        dropped.add(f"the answer holds '{beyond}', and only text is learnt")
        return None
    return before, last["content"] or ""


def same(one: Sequence[Message], other: Sequence[Message]) -> bool:
    """Whether turns are equal but for white space around their contents."""
    return _plain(one) == _plain(other)


def _plain(turns: Sequence[Message]) -> list[Message]:
    return [turn | {"content": (turn.get("content") or "").strip()} for turn in turns]


def context(prompt: list[Message], before: list[Message]) -> list[Message] | None:
    """The turns that an answer follows: the prompt's and those `before` it in its own field; None if they disagree.

    The field may repeat the prompt, with more turns before or after it, or continue where the prompt ends.
    """
    if not before:
        return prompt
    if same(before[: len(prompt)], prompt) or same(before[-len(prompt) :], prompt):
        return prompt if len(before) == len(prompt) else before
    return [*prompt, *before] if before[0]["role"] in ("assistant", "tool") else None


def flatten(turns: Sequence[Message]) -> str:
    """Chat messages as text that identifies the prompt; a single user turn equals its bare content."""
    if [turn["role"] for turn in turns] == ["user"]:
        return str(turns[0]["content"])
    return "\n\n".join(f"{turn['role']}: {turn.get('content') or ''}{_calls(turn)}" for turn in turns)


def _calls(turn: Message) -> str:
    made = {key: turn[key] for key in CALLS if turn.get(key)}
    return json.dumps(made, sort_keys=True, default=str) if made else ""
