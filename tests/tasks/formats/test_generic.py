from typing import Any

import pytest

from overopt.errors import UserError
from overopt.tasks.formats.example import Example
from overopt.tasks.formats.generic import read
from overopt.types import Dropped

USER = {"role": "user", "content": "Why?"}


def answer(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


@pytest.mark.parametrize(
    ("row", "example"),
    [
        ({"prompt": "a", "chosen": " b", "rejected": "c"}, Example("a", " b", "c")),
        ({"prompt": "a", "completion": "b"}, Example("a", "b")),
        ({"prompt": "a", "reference": "b"}, Example("a", "b")),
        ({"prompt": "a", "response": "b", "id": 7}, Example("a", "b", columns={"id": 7})),
        ({"prompt": "a"}, Example("a")),
    ],
)
def test_plain_text(row: dict[str, Any], example: Example) -> None:
    assert read(row, Dropped()) == example


def test_chat_messages_with_a_prompt() -> None:
    row = {"prompt": [USER], "chosen": [answer("b")], "rejected": [answer("c")]}
    assert read(row, Dropped()) == Example("Why?", "b", "c", messages=(USER,), chat_only=True)


def test_chat_messages_whose_prompt_is_what_they_share() -> None:
    system = {"role": "system", "content": "Be brief."}
    row = {"chosen": [system, USER, answer("b")], "rejected": [system, USER, answer("c")]}
    text = "system: Be brief.\n\nuser: Why?"
    assert read(row, Dropped()) == Example(text, "b", "c", messages=(system, USER), chat_only=True)


def test_a_text_prompt_beside_whole_conversations() -> None:
    row = {"prompt": "Why?", "chosen": [USER, answer("b")], "rejected": [USER, answer("c")]}
    assert read(row, Dropped()) == Example("Why?", "b", "c")


SYSTEM, HI = {"role": "system", "content": "Be brief."}, {"role": "assistant", "content": "Hi."}


def test_the_turns_before_an_answer_are_its_context_beside_a_prompt_too() -> None:
    before = [SYSTEM, {"role": "user", "content": "Hello"}, HI, USER]
    row = {"prompt": "Why?", "chosen": [*before, answer("b")], "rejected": [*before, answer("c")]}
    text = "system: Be brief.\n\nuser: Hello\n\nassistant: Hi.\n\nuser: Why?"
    assert read(row, Dropped()) == Example(text, "b", "c", messages=tuple(before), chat_only=True)
    listed = row | {"prompt": [USER]}
    assert read(listed, Dropped()) == read(row, Dropped())
    one = row | {"rejected": "c"}  # a text answers what the other does
    dropped = Dropped()
    assert read(one, dropped) is None
    assert dropped.reasons == {"chosen and rejected differ before the last turn": 1}


@pytest.mark.parametrize("key", ["chosen", "rejected"])
@pytest.mark.parametrize("prompt", ["Why?", [USER]])
def test_an_answer_to_another_prompt_is_dropped(key: str, prompt: Any) -> None:
    row = {"prompt": prompt, "chosen": [USER, answer("b")], "rejected": [USER, answer("c")]}
    row[key] = [{"role": "user", "content": "Where?"}, answer("b")]
    dropped = Dropped()
    assert read(row, dropped) is None
    assert dropped.reasons == {"answers another prompt than its record's": 1}


def test_messages_keep_their_calls_and_an_answer_that_is_a_call_is_counted() -> None:
    call = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "add"}}]}
    result = {"role": "tool", "content": "5", "tool_call_id": "c"}
    found = read({"prompt": [USER, call, result], "completion": [answer("5")]}, Dropped())
    assert found is not None and found.messages == (USER, call, result)
    dropped = Dropped()
    assert read({"prompt": [USER], "completion": [call]}, dropped) is None
    assert dropped.reasons == {"the answer holds 'tool_calls', and only text is learnt": 1}


def test_conversations_that_part_early_are_dropped() -> None:
    dropped = Dropped()
    assert read({"chosen": [USER, answer("b")], "rejected": [answer("x"), answer("c")]}, dropped) is None
    assert dropped.reasons == {"chosen and rejected differ before the last turn": 1}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"text": "a"},
            r"without its field 'prompt' \(fields present: text\); only whole conversations, as messages or as",
        ),
        ({"chosen": "b", "rejected": "c"}, "without its field 'prompt'"),
        ({"prompt": "a", "rejected": "c"}, "without its field 'chosen'"),
        ({"prompt": 3}, "field 'prompt' must be text or a list of chat messages, got int"),
        ({"prompt": "a", "completion": 3}, "field 'completion' must be text or a list of chat messages, got int"),
        ({"prompt": "a", "completion": "b", "response": "c"}, "'completion' and 'response' both name the reference"),
        ({"prompt": []}, "field 'prompt': an empty list"),
        ({"prompt": [{"role": "user"}]}, "field 'prompt': every chat message needs 'role' and 'content'"),
        ({"prompt": ["a"]}, "every chat message needs"),
        ({"prompt": "a", "completion": [USER]}, "the last message must be the assistant's, not the user's"),
    ],
)
def test_malformed_records_are_the_users_error(row: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(row, Dropped())


def test_a_system_text_stands_before_the_prompt() -> None:
    row = {"prompt": "Why?", "chosen": "a", "rejected": "b", "system_prompt": "Be brief."}
    example = read(row, Dropped())
    assert example is not None and example.chat_only
    assert example.messages == (
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Why?"},
    )
    plain = read({**row, "system_prompt": "  "}, Dropped())
    assert plain is not None and (plain.prompt, plain.messages) == ("Why?", None)


def test_pairs_whose_scores_tie_are_counted() -> None:
    row = {"prompt": "Why?", "chosen": "a", "rejected": "b", "score_chosen": 7.0}
    dropped = Dropped()
    assert read({**row, "score_rejected": 7.0}, dropped) is None and dropped.reasons == {"tied scores": 1}
    kept = read({**row, "score_rejected": 3.0}, dropped)
    assert kept is not None and dict(kept.columns) == {"score_chosen": 7.0, "score_rejected": 3.0}
