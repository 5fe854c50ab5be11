"""The generic format: a `prompt` with `chosen` and `rejected`, with `completion` (`reference`, `response`), or alone.

Each is text, or a list of chat messages (`role`, `content`); a `system` text becomes the first turn of a text prompt.
Completions as messages end with the assistant's turn. The turns before it are the prompt or, if there is a `prompt`
field, more context (a system turn, the history); a record where they disagree with the prompt is left out and counted.
"""

from __future__ import annotations

from typing import Any

from overopt.errors import UserError
from overopt.tasks.formats import chat
from overopt.tasks.formats.example import Example, Message, Row, field_names, require
from overopt.types import Dropped

NEEDS = "prompt, alone or with chosen and rejected or with completion, reference or response"
SYSTEMS = ("system", "system_prompt")
"""Names of the field of a system message."""
REFERENCE_FIELDS = ("completion", "reference", "response")


def matches(row: Row) -> bool:
    return any(name in row for name in ("prompt", "chosen", "rejected", *REFERENCE_FIELDS))


def _completion(row: Row, name: str, dropped: Dropped) -> tuple[list[Message], str] | None:
    """The turns before the completion in its field, if any, and its text; None if it was left out."""
    value = row[name]
    if isinstance(value, str):
        return [], value
    return chat.answer(chat.messages(value, name), name, dropped)


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
    scores = [row.get(f"score_{name}") for name in fields]
    if len(fields) == 2 and None not in scores and scores[0] == scores[1]:
        dropped.add("tied scores")
        return None
    completions = [_completion(row, name, dropped) for name in fields]
    if None in completions:
        return None  # already counted
    befores, texts = [c[0] for c in completions if c], [c[1] for c in completions if c]
    reference, rejected = (*texts, None, None)[:2]
    columns = {name: value for name, value in row.items() if name not in ("prompt", "messages", *fields)}
    turns = _prompt(row.get("prompt"), befores, row, dropped)
    if turns is None:
        return None
    if isinstance(row.get("prompt"), str) and len(turns) == 1:
        return Example(row["prompt"], reference, rejected, columns=columns)
    return Example(chat.flatten(turns), reference, rejected, messages=tuple(turns), chat_only=True, columns=columns)


def _turns(prompt: str, row: Row) -> list[Message]:
    """The prompt as the user's turn, after the row's system message if it has one."""
    system = next((row[name] for name in SYSTEMS if isinstance(row.get(name), str) and row[name].strip()), None)
    before = [] if system is None else [{"role": "system", "content": system}]
    return [*before, {"role": "user", "content": prompt}]


def _prompt(prompt: Any, befores: list[list[Message]], row: Row, dropped: Dropped) -> list[Message] | None:
    """The prompt's turns, with those before the answers in their own fields; None if they disagree."""
    if prompt is None:
        if not befores or not all(befores):
            raise UserError(
                f"a record without its field 'prompt' (fields present: {field_names(row)}); only whole conversations, "
                "as messages or as transcripts of HH-RLHF, hold their prompt themselves"
            )
        contexts: list[list[Message] | None] = [*befores]
    else:
        turns = _turns(prompt, row) if isinstance(prompt, str) else chat.messages(prompt, "prompt")
        contexts = [chat.context(turns, before) for before in befores] or [turns]
    if None in contexts:
        dropped.add("answers another prompt than its record's")
        return None
    found = [context for context in contexts if context is not None]
    if not all(chat.same(context, found[0]) for context in found):
        dropped.add("chosen and rejected differ before the last turn")
        return None
    return found[0]
