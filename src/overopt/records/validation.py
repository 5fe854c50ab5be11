"""Checks of what is read from a run directory, so that the rest of the program can trust its types."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from overopt.datafiles import json_object, json_value
from overopt.errors import UserError

TEXTS = frozenset(
    {"split", "judge", "prompt_set", "judge_hash", "judge_prompt", "judge_prompt_hash", "against", "date"}
)
"""Fields of a line that are text; all others are numbers."""
LARGEST_STEP = 2**53
SURROGATE = re.compile("[\ud800-\udfff]")
"""Half of a surrogate pair, which JSON can spell but UTF-8 cannot encode."""


@contextmanager
def reading_run(path: Path) -> Iterator[None]:
    """Turn whatever a damaged run makes the block raise into a UserError that names the run."""
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:  # damage may raise anything
        raise UserError(f"{path}: its records cannot be read ({type(error).__name__}: {error})") from error


def parse_numbers(line: bytes, place: str) -> dict[str, Any]:
    """Parse one line of `metrics.jsonl`, `timings.jsonl` or `evaluations.jsonl`; absent values are left out."""
    fields = json_object(json_value(line, place), place)
    row = {name: value for name, value in fields.items() if value is not None}
    step: Any = row.get("step")
    wrong = [name for name, value in row.items() if not _belongs(name, value)]
    if not fits_schema(step, int) or not 0 <= step < LARGEST_STEP:
        wrong = ["step", *(name for name in wrong if name != "step")]
    if wrong:
        first = f"{wrong[0]} is {str(row.get(wrong[0]))[:40]}"
        raise UserError(
            f"{place}: {', '.join(wrong[:4])} not as overopt writes them ({first}); restore the file or remove the line"
        )
    return row


def fits_schema(value: Any, form: Any) -> bool:
    """Whether a value matches a form: a type, `[form]` for a list, `{...: form}` for any keys, or `{key: form}`.

    Every key of the last is required, and other keys are allowed. A bool is not a number.
    """
    match form:
        case [each]:
            return isinstance(value, list) and all(fits_schema(item, each) for item in value)
        case dict():
            if not isinstance(value, dict):
                return False
            if ... in form:
                return all(fits_schema(item, form[...]) for item in value.values())
            return all(fits_schema(value.get(name), each) for name, each in form.items())
    return isinstance(value, form) and (form is bool or not isinstance(value, bool))


def _belongs(name: str, value: Any) -> bool:
    if name in TEXTS:
        return isinstance(value, str) and SURROGATE.search(value) is None
    if name == "nonfinite":
        return fits_schema(value, [str])
    try:
        return isinstance(value, int | float) and math.isfinite(value)
    except OverflowError:  # an integer larger than any float
        return False
