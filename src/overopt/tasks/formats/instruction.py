"""Alpaca-like data: `instruction` (`question`, `query`) with `output` (`answer`), or with `chosen` and `rejected`.

`input` (`context`) is appended to the instruction after a blank line. A `system` (`system_prompt`) text and a `history`
of [question, answer] pairs become the turns before it. `answer` stays a column too, for functions that compare with it.
"""

from __future__ import annotations

from typing import Any

from overopt.errors import UserError
from overopt.tasks.formats import generic
from overopt.tasks.formats.example import Example, Message, Row, text_field
from overopt.types import Dropped

NEEDS = "instruction, question or query, with output or answer, or with chosen and rejected (Alpaca)"
QUESTIONS = ("instruction", "question", "query")
INPUTS = ("input", "context")
ANSWERS = ("output", "answer", *generic.REFERENCE_FIELDS)


def matches(row: Row) -> bool:
    return _only(row, QUESTIONS) is not None and "prompt" not in row and not isinstance(row.get("chosen"), list)


def _only(row: Row, names: tuple[str, ...]) -> str | None:
    """Which of several equivalent names a row has, None if none; UserError if it has two."""
    found = [name for name in names if name in row]
    if len(found) > 1:
        raise UserError(f"fields '{found[0]}' and '{found[1]}' both name the same; keep one, or rename one")
    return found[0] if found else None


def read(row: Row, dropped: Dropped) -> Example | None:
    question = _only(row, QUESTIONS)
    if question is None:
        raise UserError(f"a record without one of its fields {', '.join(map(repr, QUESTIONS))}")
    used = {name: _only(row, names) for name, names in (("input", INPUTS), ("system", generic.SYSTEMS))}
    prompt, more, system = (text_field(row, name) if name else "" for name in (question, used["input"], used["system"]))
    prompt = f"{prompt}\n\n{more}" if more.strip() else prompt
    before: list[Message] = [{"role": "system", "content": system}] if system.strip() else []
    past = row.get("history")
    before += _history(past) if isinstance(past, list) else []
    parts: Row = {"prompt": [*before, {"role": "user", "content": prompt}] if before else prompt}
    taken = (question, *used.values(), *(["history"] if isinstance(past, list) else []))
    columns = {name: value for name, value in row.items() if name not in taken}
    answer = None if "chosen" in row or "rejected" in row else _only(row, ANSWERS)
    if answer is None:
        return generic.read(columns | parts, dropped)
    rest = {name: value for name, value in columns.items() if name != answer}
    kept = columns if answer == "answer" else rest
    return generic.read(kept | parts | {"completion": row[answer]}, dropped)


def _history(value: list[Any]) -> list[Message]:
    turns = []
    for pair in value:
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
            raise UserError("field 'history' must be a list of [question, answer], all text")
        turns += [{"role": "user", "content": pair[0]}, {"role": "assistant", "content": pair[1]}]
    return turns
