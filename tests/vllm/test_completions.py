"""What a completion's request says, and which answers are refused."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from overopt.vllm.completions import Drawn, Wanted
from overopt.vllm.server import ServerError

WANTED = Wanted(temperature=0.7, max_tokens=3, end_ids=frozenset({1, 9}), vocabulary=18, model=None, salt="v4")
PROMPT = [4, 5]
GOOD: dict[str, Any] = {
    "choices": [
        {
            "token_ids": [6, 9],
            "prompt_token_ids": PROMPT,
            "logprobs": {"token_logprobs": [-0.5, -1.25]},
            "finish_reason": "stop",
        }
    ]
}


def changed(**changes: Any) -> Any:
    answer = copy.deepcopy(GOOD)
    answer["choices"][0] |= changes
    return answer


def test_the_request_leaves_nothing_to_the_server_s_defaults() -> None:
    body = WANTED.body(PROMPT, 7)
    assert body["prompt"] == [4, 5] and body["seed"] == 7 and body["temperature"] == 0.7 and body["max_tokens"] == 3
    assert body["ignore_eos"] and body["stop_token_ids"] == [1, 9]
    assert (body["top_p"], body["top_k"], body["min_p"], body["repetition_penalty"]) == (1.0, 0, 0.0, 1.0)
    assert body["cache_salt"] == "v4" and "model" not in body
    named = Wanted(0.7, 3, frozenset({1}), 18, "adapter-4", "v4").body(PROMPT, 7)
    assert named["model"] == "adapter-4"


def test_a_whole_answer_is_read() -> None:
    assert WANTED.read(GOOD, PROMPT) == Drawn([6, 9], [-0.5, -1.25], True)
    cut = changed(token_ids=[6, 7, 8], logprobs={"token_logprobs": [-1, -2, -3.0]}, finish_reason="length")
    assert WANTED.read(cut, PROMPT) == Drawn([6, 7, 8], [-1.0, -2.0, -3.0], False)


THREE = {"token_logprobs": [-1.0, -1.0, -1.0]}


@pytest.mark.parametrize(
    ("answer", "passing", "said"),
    [
        (None, True, "half an answer"),
        ({"choices": []}, True, "half an answer"),
        ({"object": "error"}, True, "no 'choices'"),
        (changed(token_ids=[6]), True, "not as many"),
        (changed(token_ids=[], logprobs={"token_logprobs": []}), True, "not as many"),
        (changed(finish_reason="abort"), True, "broken off"),
        (changed(finish_reason=None), True, "broken off"),
        (changed(token_ids=[18, 9]), False, "another model is served"),
        (changed(logprobs={"token_logprobs": [None, -1.0]}), False, "not a number"),
        (changed(prompt_token_ids=[2, 4, 5]), False, "changed the prompt"),
        (changed(token_ids=[6, 7]), False, "finish_reason 'stop'"),
        (changed(token_ids=[9, 9]), False, "only ids [1, 9] end one"),
        (changed(finish_reason="length"), False, "finish_reason 'length'"),
        (changed(token_ids=[6, 7], finish_reason="length"), False, "max_tokens is 3"),
        (changed(token_ids=[6, 7, 1], logprobs=THREE, finish_reason="length"), False, "finish_reason 'length'"),
    ],
)
def test_what_is_no_completion_of_the_request_is_refused(answer: Any, passing: bool, said: str) -> None:
    with pytest.raises(ServerError) as refused:
        WANTED.read(answer, PROMPT)
    assert said in str(refused.value) and refused.value.passing is passing
