"""Parts of error messages: the nearest valid name, a value as YAML spells it, pydantic's errors in plain words."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable
from typing import Any

_EXPECTED = {
    "float_type": "a number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "string_type": "text",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a block of `key: value`",
    "dataclass_type": "a block of `key: value`",
    "finite_number": "a finite number",
    "none_required": "null",
}
_BOUNDS = {
    "greater_than": ("gt", ">"),
    "greater_than_equal": ("ge", ">="),
    "less_than": ("lt", "<"),
    "less_than_equal": ("le", "<="),
}


NAMES_IN_TRL = {
    "learning_rate": "lr",
    "lr_scheduler_type": "schedule",
    "max_grad_norm": "grad_clip",
    "max_steps": "steps",
    "num_generations": "samples_per_prompt",
    "num_train_epochs": "epochs",
    "per_device_train_batch_size": "batch_size",
    "max_completion_length": "max_completion_tokens",
    "max_prompt_length": "max_prompt_tokens",
    "bf16": "compute",
    "gradient_checkpointing": "compute",
    "ref_model": "reference",
    "report_to": "sinks",
}
"""What users of TRL write, and the key here."""


def did_you_mean(word: str, valid: Iterable[str]) -> str:
    """List the valid names, after the nearest one if any is near: `did you mean 'x'? valid: x, y`."""
    names = list(valid)
    lowered = {name.lower(): name for name in reversed(names)}
    near = difflib.get_close_matches(word.lower(), lowered, n=1)
    near = [name for name in (NAMES_IN_TRL.get(word),) if name in names] or near
    return (f"did you mean {lowered[near[0]]!r}? " if near else "") + f"valid: {', '.join(names) or 'none'}"


def as_yaml(value: Any) -> str:
    """Spell a value as YAML does, cut to 60 characters."""
    text = "nothing" if value is None else json.dumps(value, ensure_ascii=False, default=repr)
    text = {"NaN": ".nan", "Infinity": ".inf", "-Infinity": "-.inf"}.get(text, text)
    return text if len(text) <= 60 else f"{text[:57]}..."


def explain_error(kind: str, value: Any, context: dict[str, Any], message: str) -> str:
    """Say one of pydantic's errors about a value in plain words; `message`, pydantic's own, serves for other kinds."""
    if kind.startswith("missing"):
        return "is missing and has no default"
    if kind in _EXPECTED:
        return f"expected {_EXPECTED[kind]}, got {as_yaml(value)}"
    if kind in _BOUNDS:
        bound, sign = _BOUNDS[kind]
        return f"must be {sign} {context[bound]:g}, got {as_yaml(value)}"
    if kind == "literal_error":
        valid = [word.strip("'") for word in re.split(r", | or ", context["expected"])]
        return f"unknown value {value!r} ({did_you_mean(str(value), valid)})"
    if kind == "string_too_short":
        return "must not be empty"
    if kind in ("value_error", "assertion_error"):
        return str(context["error"])
    return f"{message}, got {as_yaml(value)}"
