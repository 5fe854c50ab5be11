from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from overopt.errors import UserError
from overopt.records.validation import fits_schema, parse_numbers, reading_run


def test_a_line_of_numbers() -> None:
    line = b'{"step": 3, "kl": 0.5, "judge": "gold", "ended": true, "gone": null, "nonfinite": ["loss"]}'
    assert parse_numbers(line, "m:1") == {"step": 3, "kl": 0.5, "judge": "gold", "ended": True, "nonfinite": ["loss"]}


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ('{"kl": 1}', r"step not as overopt writes them \(step is None\)"),
        ('{"step": true}', "step not as"),
        ('{"step": -1}', "step not as"),
        (f'{{"step": {10**40}}}', "step not as"),
        ('{"step": 1, "kl": "x", "loss": [1]}', r"kl, loss not as overopt writes them \(kl is x\); restore the file"),
        ('{"step": 1, "kl": NaN}', "kl not as"),
        ('{"step": 1, "kl": Infinity}', "kl not as"),
        (f'{{"step": 1, "kl": {10**400}}}', "kl not as"),
        ('{"step": 1, "judge": 3}', "judge not as"),
        ('{"step": 1, "judge": "\\ud800"}', "judge not as"),
        ('{"step": 1, "nonfinite": [1]}', "nonfinite not as"),
        ("[]", r"expected a JSON object, got \[\]"),
        ("[" * 200_000, "not JSON"),
        ("\ud800", "not text in UTF-8"),
    ],
)
def test_a_line_that_no_run_writes(line: str, what: str) -> None:
    with pytest.raises(UserError, match=f"metrics.jsonl:7: {what}"):
        parse_numbers(line.encode("utf-8", "surrogatepass"), "metrics.jsonl:7")


@pytest.mark.parametrize(
    ("value", "form", "expected"),
    [
        (1, int, True),
        (True, int, False),
        (True, bool, True),
        (1, bool, False),
        (None, dict | None, True),
        ([], [str], True),
        (["a", 1], [str], False),
        ("a", [str], False),
        ({}, {...: int}, True),
        ({"a": 1}, {...: int}, True),
        ({"a": {"b": "c"}}, {...: {...: int}}, False),
        ({"role": "a", "more": 1}, {"role": str}, True),
        ({"more": 1}, {"role": str}, False),
        ([{"role": "a"}, None], [{"role": str}], False),
    ],
)
def test_forms(value: Any, form: Any, expected: bool) -> None:
    assert fits_schema(value, form) is expected


def test_whatever_a_record_makes_of_its_reader_is_said_with_its_place() -> None:
    with pytest.raises(UserError, match=r"kl: its records cannot be read \(KeyError: 'x'\)"), reading_run(Path("kl")):
        raise KeyError("x")
    with pytest.raises(UserError, match="^mine$"), reading_run(Path("runs/kl")):
        raise UserError("mine")
    with pytest.raises(MemoryError), reading_run(Path("runs/kl")):
        raise MemoryError
