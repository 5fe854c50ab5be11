"""Calls the user's functions that score completions: `fn(prompts, completions, **columns) -> list[float]`, as in TRL.

All arguments are passed by name and are lists of equal length. `prompts` and `completions` are texts. `columns` are
`reference` and the records' other fields (for the miniature `facts`; for a file those that its format does not use);
a record that lacks a column has None there.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Iterable, Sequence
from typing import Any

from overopt.config import calling_user_code
from overopt.config.plugins import find_function, required_columns
from overopt.errors import UserError
from overopt.types import Completion, PromptRecord

RESERVED = ("prompts", "completions")
"""Arguments that every function gets, so that no column has such a name."""


def check_columns(function: str, address: str, records: Iterable[PromptRecord]) -> None:
    """Raise UserError if the function requires a column that no record has."""
    known = {"reference", *(name for record in records for name in record.meta)} - set(RESERVED)
    missing = sorted(required_columns(function) - known)
    if missing:
        named = ", ".join(map(repr, missing))
        raise UserError(f"{address}: {function} asks for {named}; the task's records have: {', '.join(sorted(known))}")


def score(
    function: str, address: str, records: Sequence[PromptRecord], completions: Sequence[Completion]
) -> list[float]:
    """One finite number for each completion; `address` is the config field that named the function.

    The function gets copies, so it cannot change a record.
    """
    who = f"{address}: {function}"
    absent: dict[str, list[Any]] = {name: [None] * len(records) for name in required_columns(function)}
    with calling_user_code(who):
        values = find_function(function)(
            prompts=[record.prompt for record in records],
            completions=[completion.text for completion in completions],
            **copy.deepcopy(absent | columns(records)),
        )
        return _numbers(values, who, len(completions))


def columns(records: Sequence[PromptRecord]) -> dict[str, list[Any]]:
    """The records' fields beside the prompt, by name."""
    names = dict.fromkeys(name for record in records for name in record.meta)
    found = {name: [record.meta.get(name) for record in records] for name in names}
    found["reference"] = [record.reference for record in records]
    return {name: found[name] for name in found if name not in RESERVED}


def _numbers(values: Any, who: str, count: int) -> list[float]:
    """A function's return value as floats; UserError unless it is a list of `count` finite numbers."""
    if inspect.iscoroutine(values):
        values.close()
        raise UserError(f"{who} must return a list of {count} numbers; it is an async function, which nobody awaits")
    values = values.tolist() if hasattr(values, "tolist") else values  # of a tensor or an array
    if not isinstance(values, list | tuple):
        raise UserError(f"{who} must return a list of {count} numbers, one a completion; it returned {_shown(values)}")
    if len(values) != count:
        raise UserError(f"{who} must return {count} numbers, one a completion; it returned {len(values)}")
    for i, value in enumerate(values):
        number = value.item() if hasattr(value, "item") else value
        if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
            raise UserError(f"{who} must return finite numbers; for completion {i} it returned {_shown(value)}")
    return [float(value) for value in values]


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
