"""The words of errors, literally."""

from __future__ import annotations

import math
from typing import Any

import pytest

from overopt.config.messages import as_yaml, did_you_mean, explain_error


def test_hint_names_the_nearest_and_all() -> None:
    assert did_you_mean("gama", ["alpha", "gamma"]) == "did you mean 'gamma'? valid: alpha, gamma"
    assert did_you_mean("SimPO", ["dpo", "simpo"]) == "did you mean 'simpo'? valid: dpo, simpo"
    assert did_you_mean("xyz", ["dpo", "simpo"]) == "valid: dpo, simpo"
    assert did_you_mean("xyz", []) == "valid: none"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (None, "nothing"),
        ("fast", '"fast"'),
        (1.5, "1.5"),
        (math.nan, ".nan"),
        (-math.inf, "-.inf"),
        ({"a": [1]}, '{"a": [1]}'),
        ("x" * 100, '"' + "x" * 56 + "..."),
    ],
)
def test_values_are_shown_as_yaml_spells_them(value: Any, text: str) -> None:
    assert as_yaml(value) == text


@pytest.mark.parametrize(
    ("kind", "value", "context", "words"),
    [
        ("missing", {}, {}, "is missing and has no default"),
        ("float_type", True, {}, "expected a number, got true"),
        ("int_from_float", 1.5, {}, "expected a whole number, got 1.5"),
        ("bool_type", "yes", {}, 'expected true or false, got "yes"'),
        ("dataclass_type", 3, {}, "expected a block of `key: value`, got 3"),
        ("greater_than", -1, {"gt": 0.0}, "must be > 0, got -1"),
        ("less_than_equal", 2, {"le": 1.0}, "must be <= 1, got 2"),
        (
            "literal_error",
            "row",
            {"expected": "'raw' or 'chat'"},
            "unknown value 'row' (did you mean 'raw'? valid: raw, chat)",
        ),
        ("string_too_short", "", {}, "must not be empty"),
        ("value_error", 1, {"error": ValueError("k must be > 1")}, "k must be > 1"),
        ("too_long", [1, 2], {}, "Tuple should have at most 1 item, got [1, 2]"),
    ],
)
def test_kinds_of_errors(kind: str, value: Any, context: dict[str, Any], words: str) -> None:
    assert explain_error(kind, value, context, "Tuple should have at most 1 item") == words


def test_names_of_trl_lead_to_ours() -> None:
    assert did_you_mean("learning_rate", ["lr", "steps"]) == "did you mean 'lr'? valid: lr, steps"
    assert did_you_mean("learning_rate", ["steps"]) == "valid: steps"  # where there is none, nothing is promised
