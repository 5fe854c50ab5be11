from typing import Any

import pytest

from overopt.errors import UserError
from overopt.tasks.formats.example import Example
from overopt.tasks.formats.sharegpt import matches, read
from overopt.types import Dropped

HUMAN, GPT = {"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}
USER, SYSTEM = {"role": "user", "content": "Why?"}, {"role": "system", "content": "Be brief."}


def test_speakers_are_roles() -> None:
    row = {"conversations": [{"from": "system", "value": "Be brief."}, HUMAN, GPT], "id": "a"}
    text = "system: Be brief.\n\nuser: Why?"
    assert read(row, Dropped()) == Example(text, "So.", messages=(SYSTEM, USER), chat_only=True, columns={"id": "a"})


def test_a_system_text_beside_stands_first() -> None:
    found = read({"system": "Be brief.", "conversations": [HUMAN, GPT]}, Dropped())
    assert found is not None and found.messages == (SYSTEM, USER)
    found = read({"system": "", "conversations": [USER, {"role": "assistant", "content": "So."}]}, Dropped())
    assert found is not None and (found.messages, found.reference) == ((USER,), "So.")


def test_pairs_beside_a_conversation() -> None:
    row = {"conversations": [HUMAN], "chosen": GPT, "rejected": {"from": "gpt", "value": "No."}}
    assert read(row, Dropped()) == Example("Why?", "So.", "No.", messages=(USER,), chat_only=True)


@pytest.mark.parametrize(
    ("turns", "message"),
    [
        ([HUMAN, {"from": "function_call", "value": "{}"}], "from 'function_call' is none of human, user, gpt"),
        ([{"from": "human"}], "every turn needs 'from' and 'value', both text"),
        (["Why?", "So."], "every turn needs 'from' and 'value', got str"),
        ([], "an empty list"),
    ],
)
def test_malformed_turns_are_the_users_error(turns: list[Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read({"conversations": turns}, Dropped())


def test_rows_that_it_takes() -> None:
    assert matches({"conversation": [HUMAN]}) and not matches({"prompt": "a", "conversations": [HUMAN]})
