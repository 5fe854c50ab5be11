import pytest

from overopt.errors import UserError
from overopt.tasks.formats.conversation import matches, read
from overopt.tasks.formats.example import Example
from overopt.types import Dropped

USER, AGAIN = {"role": "user", "content": "Why?"}, {"role": "user", "content": "And?"}
SO, THEN = {"role": "assistant", "content": "So."}, {"role": "assistant", "content": " Then."}


def test_the_last_answer_is_learnt_and_the_rest_its_context() -> None:
    found = read({"messages": [USER, SO, AGAIN, THEN], "id": 3}, Dropped())
    text = "user: Why?\n\nassistant: So.\n\nuser: And?"
    assert found == Example(text, " Then.", messages=(USER, SO, AGAIN), chat_only=True, columns={"id": 3})


def test_one_that_ends_with_a_question_is_a_prompt() -> None:
    assert read({"messages": [USER]}, Dropped()) == Example("Why?", messages=(USER,), chat_only=True)


def test_a_prompt_beside_is_one_of_its_turns() -> None:
    assert read({"prompt": "Why?", "messages": [USER, SO]}, Dropped()) == Example("Why?", "So.")
    found = read({"prompt": "Why?", "messages": [USER, SO, AGAIN, THEN]}, Dropped())
    assert found is not None and found.messages == (USER, SO, AGAIN)
    dropped = Dropped()
    assert read({"prompt": "Where?", "messages": [USER, SO]}, dropped) is None
    assert read({"messages": [SO]}, dropped) is None
    assert dropped.reasons == {"answers another prompt than its record's": 1, "a conversation of one answer": 1}


def test_rows_that_it_takes() -> None:
    assert matches({"messages": [USER, SO]})
    assert not matches({"messages": [USER], "chosen": "a", "rejected": "b"}) and not matches({"messages": "text"})
    with pytest.raises(UserError, match="field 'messages' must be text or a list of chat messages, got NoneType"):
        read({"prompt": "a"}, Dropped())
