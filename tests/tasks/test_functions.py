"""Functions of the user's: what they are given, and what is said of what they ask for, raise or return."""

from __future__ import annotations

from pathlib import Path

import pytest

from overopt.errors import UserError
from overopt.tasks.functions import check_columns, columns, score
from overopt.types import Completion, PromptRecord

RECORDS = [
    PromptRecord("a", "one", "uno", {"answer": 1, "prompts": "hidden"}),
    PromptRecord("b", "two", None, {"answer": 2, "hint": "a pair"}),
]
COMPLETIONS = [Completion("1"), Completion("two", ended=False)]


def write(folder: Path, body: str, head: str = "def fn(prompts, completions, **columns):") -> str:
    path = folder / "mine.py"
    path.write_text(f"{head}\n    {body}\n")
    return f"{path}:fn"


def test_everything_is_passed_by_name_as_lists(tmp_path: Path) -> None:
    body = "return [len(p) + 10 * len(c) + 100 * a for p, c, a in zip(prompts, completions, answer)]"
    name = write(tmp_path, body, "def fn(completions, prompts, answer, **columns):")
    assert score(name, "rewards.0", RECORDS, COMPLETIONS) == [3 + 10 + 100, 3 + 30 + 200]


def test_columns_are_the_meta_and_the_reference() -> None:
    assert columns(RECORDS) == {"answer": [1, 2], "hint": [None, "a pair"], "reference": ["uno", None]}


def test_a_column_that_no_record_has_is_named(tmp_path: Path) -> None:
    name = write(tmp_path, "return solution", "def fn(prompts, completions, solution, **columns):")
    with pytest.raises(UserError) as error:
        check_columns(name, "rewards.0", RECORDS)
    assert (
        str(error.value) == f"rewards.0: {name} asks for 'solution'; the task's records have: answer, hint, reference"
    )


def test_a_column_that_some_records_have_is_none_for_the_others(tmp_path: Path) -> None:
    name = write(tmp_path, "return [float(h is None) for h in hint]", "def fn(completions, hint, **columns):")
    check_columns(name, "rewards.0", RECORDS)
    assert score(name, "rewards.0", RECORDS, COMPLETIONS) == [1.0, 0.0]
    assert score(name, "rewards.0", RECORDS[:1], COMPLETIONS[:1]) == [1.0]


@pytest.mark.parametrize("body", ["return (1, 2.5)", "import numpy; return numpy.array([1, 2.5])"])
def test_other_sequences_of_numbers_will_do(tmp_path: Path, body: str) -> None:
    assert score(write(tmp_path, body), "rewards.0", RECORDS, COMPLETIONS) == [1.0, 2.5]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return [1.0]", "must return 2 numbers, one a completion; it returned 1"),
        ("return 1.0", "must return a list of 2 numbers, one a completion; it returned 1.0"),
        ("return None", "must return a list of 2 numbers, one a completion; it returned None"),
        ("return [1.0, 'good']", "must return finite numbers; for completion 1 it returned 'good'"),
        ("return [None, 1.0]", "must return finite numbers; for completion 0 it returned None"),
        ("return [True, 1.0]", "must return finite numbers; for completion 0 it returned True"),
        ("return [1.0, float('nan')]", "must return finite numbers; for completion 1 it returned nan"),
        ("return ['x' * 99, 1]", f"must return finite numbers; for completion 0 it returned '{'x' * 56}..."),
    ],
)
def test_a_wrong_answer_is_said_in_one_sentence(tmp_path: Path, body: str, message: str) -> None:
    name = write(tmp_path, body)
    with pytest.raises(UserError) as error:
        score(name, "rewards.1", RECORDS, COMPLETIONS)
    assert str(error.value) == f"rewards.1: {name} {message}"


def test_what_it_raises_is_passed_on_with_its_line(tmp_path: Path) -> None:
    name = write(tmp_path, "return [1 / 0]")
    with pytest.raises(UserError, match=r"fn raised ZeroDivisionError: division by zero \(.*mine\.py, line 2\)"):
        score(name, "rewards.0", RECORDS, COMPLETIONS)


def test_what_it_does_to_its_arguments_changes_no_record(tmp_path: Path) -> None:
    records = [PromptRecord("a", "one", None, {"facts": ["x"]})]
    body = "prompts.clear(); completions.append(''); columns['facts'][0].append('y'); return [1.0]"
    name = write(tmp_path, body)
    for _ in range(2):
        assert score(name, "rewards.0", records, COMPLETIONS[:1]) == [1.0]
    assert records[0].prompt == "one" and records[0].meta == {"facts": ["x"]}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("import sys; sys.exit(3)", r"raised SystemExit: 3 \(.*mine.py, line 2\)"),
        ("return [10**400, 1.0]", "raised OverflowError"),
        ("import numpy; return [numpy.zeros(2), 1.0]", "raised ValueError"),
        ("yield 1.0", "must return a list of 2 numbers, one a completion; it returned <generator"),
        ("return None", "must return a list of 2 numbers, one a completion; it returned None"),
    ],
)
def test_whatever_goes_wrong_names_the_function(body: str, message: str, tmp_path: Path) -> None:
    name = write(tmp_path, body)
    with pytest.raises(UserError, match=f"^rewards.0: {name} {message}"):
        score(name, "rewards.0", RECORDS, COMPLETIONS)


def test_an_async_function_is_not_awaited(tmp_path: Path) -> None:
    name = write(tmp_path, "return [1.0, 1.0]", "async def fn(prompts, completions, **columns):")
    with pytest.raises(UserError, match="it is an async function, which nobody awaits"):
        score(name, "rewards.0", RECORDS, COMPLETIONS)


def test_ctrl_c_passes(tmp_path: Path) -> None:
    name = write(tmp_path, "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        score(name, "rewards.0", RECORDS, COMPLETIONS)
