from typing import Any

import pytest

from overopt.errors import UserError
from overopt.tasks.formats.example import Example
from overopt.tasks.formats.instruction import matches, read
from overopt.types import Dropped

USER, SYSTEM = {"role": "user", "content": "Why?"}, {"role": "system", "content": "Be brief."}


@pytest.mark.parametrize(
    ("row", "example"),
    [
        ({"instruction": "Why?", "input": "", "output": "So."}, Example("Why?", "So.")),
        ({"instruction": "Add", "input": "2 3", "output": "5", "id": 1}, Example("Add\n\n2 3", "5", columns={"id": 1})),
        ({"instruction": "Add", "context": "2 3", "response": "5"}, Example("Add\n\n2 3", "5")),
        ({"question": "Why?", "answer": "So."}, Example("Why?", "So.", columns={"answer": "So."})),
        ({"query": "Why?"}, Example("Why?")),
        ({"instruction": "Why?", "chosen": "a", "rejected": "b"}, Example("Why?", "a", "b")),
        (
            {"system": "Be brief.", "question": "Why?", "chosen": "a", "rejected": "b"},
            Example("system: Be brief.\n\nuser: Why?", "a", "b", messages=(SYSTEM, USER), chat_only=True),
        ),
    ],
)
def test_a_question_with_its_answers(row: dict[str, Any], example: Example) -> None:
    assert matches(row)
    assert read(row, Dropped()) == example


def test_a_history_is_turns() -> None:
    found = read({"instruction": "Why?", "output": "So.", "history": [["a", "b"]]}, Dropped())
    assert found is not None and found.messages == (
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        USER,
    )
    with pytest.raises(UserError, match="field 'history' must be a list of"):
        read({"instruction": "Why?", "history": [["a"]]}, Dropped())


def test_two_names_for_one_thing_are_one_too_many() -> None:
    with pytest.raises(UserError, match="fields 'output' and 'answer' both name the same"):
        read({"question": "a", "output": "b", "answer": "c"}, Dropped())
    with pytest.raises(UserError, match="without one of its fields 'instruction', 'question', 'query'"):
        read({"output": "b"}, Dropped())


def test_rows_that_it_leaves_to_others() -> None:
    assert not matches({"prompt": "a", "question": "b"})
    assert not matches({"question": "a", "chosen": [USER], "rejected": [USER]})
