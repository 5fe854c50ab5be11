from typing import Any

import pytest

from overopt.errors import UserError
from overopt.tasks.formats.chat import answer, context, flatten, messages, same
from overopt.types import Dropped

USER, OTHER = {"role": "user", "content": "Why?"}, {"role": "user", "content": "What?"}
SYSTEM, HI = {"role": "system", "content": "Be brief."}, {"role": "assistant", "content": "Hi."}
CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 2}}}


def test_every_key_is_kept_and_parts_of_text_are_joined() -> None:
    calling = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    result = {"role": "tool", "content": "5", "name": "add", "tool_call_id": "c1"}
    parts = {"role": "user", "content": [{"type": "text", "text": "Why"}, {"text": "?"}]}
    assert messages([parts, calling, result], "x") == [USER, calling, result]
    silent = {"role": "assistant", "tool_calls": [CALL]}
    assert messages([silent], "x") == [silent]
    assert messages({**USER, "tool_calls": None}, "x") == [USER]  # a lone message; a null is an absent key


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([{"type": "image_url", "image_url": "a"}], "field 'x': a message holds a part of type 'image_url'; only text"),
        ([{"type": "text", "text": 3}], "a part of type 'text'"),
        ([3], "a part of type 'int'"),
        (None, "needs 'role' and 'content', both text"),
        ({"text": "a"}, "needs 'role' and 'content', both text"),
    ],
)
def test_a_content_that_is_no_text_is_refused(content: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        messages([{"role": "user", "content": content}], "x")


def test_an_answer_that_is_more_than_text_is_counted() -> None:
    dropped = Dropped()
    assert answer([USER, HI], "x", dropped) == ([USER], "Hi.")
    assert answer([USER, {**HI, "tool_calls": [CALL]}], "x", dropped) is None
    assert answer([USER, {**HI, "reasoning_content": "Hm."}], "x", dropped) is None
    assert answer([USER, {**HI, "tool_calls": [], "id": 3}], "x", dropped) == ([USER], "Hi.")
    assert dropped.reasons == {
        "the answer holds 'tool_calls', and only text is learnt": 1,
        "the answer holds 'reasoning_content', and only text is learnt": 1,
    }


@pytest.mark.parametrize(
    ("prompt", "before", "found"),
    [
        ([USER], [], [USER]),
        ([USER], [{"role": "user", "content": " Why?\n"}], [USER]),
        ([USER], [SYSTEM, OTHER, HI, USER], [SYSTEM, OTHER, HI, USER]),  # a system turn and a history before it
        ([USER], [USER, HI, OTHER], [USER, HI, OTHER]),  # goes on after it
        ([USER], [HI, OTHER], [USER, HI, OTHER]),  # goes on where the prompt ends
        ([SYSTEM, USER], [SYSTEM, USER], [SYSTEM, USER]),
        ([USER], [OTHER], None),
        ([SYSTEM, USER], [USER], None),
        ([USER], [SYSTEM, OTHER], None),
    ],
)
def test_the_context_of_an_answer(prompt: list[Any], before: list[Any], found: list[Any] | None) -> None:
    assert context(prompt, before) == found


def test_prompts_are_told_apart_by_their_calls_too() -> None:
    one, other = ([USER, {"role": "assistant", "tool_calls": [{**CALL, "id": i}]}] for i in "ab")
    assert flatten(one) != flatten(other) and not same(one, other)
    assert flatten([USER]) == "Why?"


def test_an_answer_of_weight_0_is_not_learnt() -> None:
    turns = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So.", "weight": 0}]
    dropped = Dropped()
    assert answer(turns, "messages", dropped) is None and dropped.reasons == {"the answer has weight 0": 1}
