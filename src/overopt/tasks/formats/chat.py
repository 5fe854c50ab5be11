"""Chat messages as files hold them: every key is kept, and what is no text is refused or counted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from overopt.errors import UserError
from overopt.tasks.formats.example import Message
from overopt.types import Dropped

CALLS = ("tool_calls", "function_call")
"""Keys of an assistant's message that may stand in the place of a content."""
BEYOND_TEXT = (*CALLS, "reasoning_content", "reasoning", "thinking")
"""Keys of an answer that training, which learns its content, would leave out."""


def messages(value: Any, name: str) -> list[Message]:
    """The messages of a field, with all their keys; a content in parts of text is joined, a null is left out."""
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
    """The turns before the assistant's last, and its text; None, and counted, if its text is not all of it."""
    *before, last = turns
    if last["role"] != "assistant":
        raise UserError(f"field '{name}': the last message must be the assistant's, not the {last['role']}'s")
    if last.get("weight") == 0:  # of OpenAI's format: a turn that is not to be learnt
        dropped.add("the answer has weight 0")
        return None
    beyond = next((key for key in BEYOND_TEXT if last.get(key)), None)
    if beyond is not None:
        dropped.add(f"the answer holds '{beyond}', and only text is learnt")
        return None
    return before, last["content"] or ""


def same(one: Sequence[Message], other: Sequence[Message]) -> bool:
    """Whether turns say the same; white space around a content is no difference."""
    return _plain(one) == _plain(other)


def _plain(turns: Sequence[Message]) -> list[Message]:
    return [turn | {"content": (turn.get("content") or "").strip()} for turn in turns]


def context(prompt: list[Message], before: list[Message]) -> list[Message] | None:
    """The turns that an answer answers: of the prompt, and those `before` it in its own field; None if they disagree.

    A field may repeat the prompt and have more before or after it, or go on where the prompt ends.
    """
    if not before:
        return prompt
    if same(before[: len(prompt)], prompt) or same(before[-len(prompt) :], prompt):
        return prompt if len(before) == len(prompt) else before
    return [*prompt, *before] if before[0]["role"] in ("assistant", "tool") else None


def flatten(turns: Sequence[Message]) -> str:
    """Chat messages as text, to tell prompts apart: a lone user turn is the same prompt as its bare string."""
    if [turn["role"] for turn in turns] == ["user"]:
        return str(turns[0]["content"])
    return "\n\n".join(f"{turn['role']}: {turn.get('content') or ''}{_calls(turn)}" for turn in turns)


def _calls(turn: Message) -> str:
    made = {key: turn[key] for key in CALLS if turn.get(key)}
    return json.dumps(made, sort_keys=True, default=str) if made else ""
