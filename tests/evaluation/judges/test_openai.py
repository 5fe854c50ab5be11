"""The judge with a stand-in for the SDK; `make test-judges` has the real one."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from overopt.config import load
from overopt.errors import UserError
from overopt.evaluation.judges import judge_from, openai
from overopt.evaluation.judges.asking import RequestError
from overopt.evaluation.judges.base import Comparison, Question, Situation
from overopt.evaluation.judges.openai import (
    ChatAPI,
    OpenAI,
    base_url,
    is_this_machine,
    public_url,
    read_completion,
)
from overopt.evaluation.judges.prompts import J2
from overopt.types import Completion, PromptRecord

QUESTION = Question((("user", "Which? \ud800"),), max_tokens=5)


class StatusError(Exception):
    """As the SDK's, of version 1 and later."""

    def __init__(self, status: int, body: Any = None, headers: dict[str, str] | None = None) -> None:
        super().__init__("Error code")
        self.status_code, self.body, self.message = status, body, "Error code"
        self.code, self.param = (body or {}).get("code"), (body or {}).get("param")
        self.response = SimpleNamespace(headers=headers or {})


class TimedOut(Exception):
    pass


class Unconnected(Exception):
    pass


class SDK(ModuleType):
    """Answers by `act`, which gets what was sent."""

    APIStatusError, APITimeoutError, APIConnectionError = StatusError, TimedOut, Unconnected

    def __init__(self, act: Callable[[dict[str, Any]], str]) -> None:
        super().__init__("openai")
        self.clients: list[dict[str, Any]] = []
        self.sent: list[dict[str, Any]] = []

        def create(**sent: Any) -> Any:
            self.sent.append(sent)
            return SimpleNamespace(http_response=SimpleNamespace(text=act(sent)))

        raw = SimpleNamespace(create=create)
        self.chat = SimpleNamespace(completions=SimpleNamespace(with_raw_response=raw))

    def OpenAI(self, **options: Any) -> Any:
        self.clients.append(options)
        return self


def completion(text: str | None = "Preferred: A", **message: Any) -> str:
    choice = {"message": {"role": "assistant", "content": text, **message}, "finish_reason": "stop"}
    return json.dumps({"choices": [choice], "usage": {"prompt_tokens": 11, "completion_tokens": 3}})


@pytest.fixture
def sdk(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[dict[str, Any]], str]], SDK]:
    monkeypatch.setenv("OPENAI_API_KEY", "planted-0123456789")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    openai._spending.cache_clear()
    openai._manner.cache_clear()

    def install(act: Callable[[dict[str, Any]], str]) -> SDK:
        made = SDK(act)
        monkeypatch.setitem(sys.modules, "openai", made)
        return made

    return install


def api(situation: Situation | None = None) -> ChatAPI:
    opened = ChatAPI("openai/m", "m", {}, 7.0, situation or Situation())
    opened.open()
    return opened


def raising(error: Exception) -> Callable[[dict[str, Any]], str]:
    def act(sent: dict[str, Any]) -> str:
        raise error

    return act


def refused(error: Exception, sdk: Any) -> RequestError:
    sdk(raising(error))
    with pytest.raises(RequestError) as refusal:
        api().send(QUESTION)
    return refusal.value


# --- What is sent


def test_a_question_is_sent_at_temperature_0_and_the_sdk_repeats_nothing(sdk: Any) -> None:
    made = sdk(lambda sent: completion())
    answer = api().send(QUESTION)
    assert (answer.text, answer.input_tokens, answer.output_tokens) == ("Preferred: A", 11, 3)
    messages = [{"role": "user", "content": "Which? ?"}]
    assert made.sent == [{"model": "m", "messages": messages, "max_tokens": 5, "temperature": 0.0}]
    expected = {"api_key": "planted-0123456789", "base_url": "http://127.0.0.1:9/v1", "max_retries": 0, "timeout": 7.0}
    assert made.clients == [expected]


def test_a_model_that_takes_other_parameters_is_learned_from_its_refusals(sdk: Any) -> None:
    def act(sent: dict[str, Any]) -> str:
        if "max_tokens" in sent:
            said = "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead."
            raise StatusError(400, {"message": said, "param": "max_tokens", "code": "unsupported_parameter"})
        if "temperature" in sent:
            said = "Unsupported value: 'temperature' does not support 0 with this model."
            raise StatusError(400, {"message": said, "param": "temperature", "code": "unsupported_value"})
        return completion()

    made, model = sdk(act), api()
    for said in ("m takes max_completion_tokens in place of max_tokens", "m refuses temperature 0, and judges at"):
        with pytest.raises(RequestError, match=said) as refusal:
            model.send(QUESTION)
        assert refusal.value.adapted
    assert model.send(QUESTION).text == "Preferred: A"
    assert api().send(QUESTION).text == "Preferred: A"  # as the next evaluation of the command
    assert [sent.keys() - {"model", "messages"} for sent in made.sent[-2:]] == [{"max_completion_tokens"}] * 2


# --- What comes back


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (completion("Preferred: B"), "Preferred: B"),
        (completion(None), ""),
        (completion(None, refusal="I will not compare these."), "I will not compare these."),
        (completion(None, tool_calls=[{}]), ""),
        ('{"choices": []}', ""),
        ('{"choices": [{"message": {"content": "A"}}], "usage": null}', "A"),
    ],
)
def test_a_completion_without_text_is_an_answer_that_cannot_be_read(body: str, text: str) -> None:
    assert read_completion(body).text == text


@pytest.mark.parametrize(
    "body",
    [
        completion()[:-20],
        "",
        "<html>502 Bad Gateway</html>",
        "null",
        "[]",
        '{"error": {"message": "overloaded"}}',
        '{"choices": null}',
        '{"choices": [{}]}',
        '{"choices": [{"message": {"content": {"text": "A"}}}]}',
        '{"choices": [{"message": {"content": "A"}}], "usage": {"prompt_tokens": -1}}',
        '{"choices": [{"message": {"content": "A"}}], "usage": [1]}',
        "[" * 100_000,
    ],
)
def test_what_is_no_completion_is_a_failure_that_may_mend(body: str) -> None:
    with pytest.raises(RequestError, match="no chat completion, or a part of one") as failure:
        read_completion(body)
    assert failure.value.mends and failure.value.perhaps_charged


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413, 422])
def test_a_refusal_will_not_mend(status: int, sdk: Any) -> None:
    error = refused(StatusError(status, {"message": "no"}), sdk)
    assert (str(error), error.mends, error.perhaps_charged) == (f"HTTP {status}: no", False, False)


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 529])
def test_a_failure_may_mend(status: int, sdk: Any) -> None:
    error = refused(StatusError(status), sdk)
    assert (error.mends, error.slow_down, error.pause) == (True, status == 429, None)


def test_pauses_that_the_endpoint_asks_for(sdk: Any) -> None:
    for headers, pause in (({"retry-after": "7"}, 7.0), ({"retry-after": "7", "retry-after-ms": "250"}, 0.25)):
        for status in (429, 503):
            error = refused(StatusError(status, None, headers), sdk)
            assert (error.mends, error.slow_down, error.pause) == (True, True, pause)


def test_an_empty_account_is_no_busy_endpoint(sdk: Any) -> None:
    assert not refused(StatusError(429, {"message": "quota", "code": "insufficient_quota"}), sdk).mends


@pytest.mark.parametrize("code", ["content_filter", "context_length_exceeded"])
def test_a_text_that_is_refused_is_an_answer_that_cannot_be_read(code: str, sdk: Any) -> None:
    sdk(raising(StatusError(400, {"message": "no", "code": code})))
    assert api().send(QUESTION).text == ""


class ConnectError(Exception):
    """As that of the SDK's HTTP library."""


def test_connections_that_break_may_have_been_charged_once_they_stood(sdk: Any) -> None:
    error = Unconnected("Connection error.")
    error.__cause__ = OSError("Connection reset by peer")
    found = refused(error, sdk)
    assert str(found) == "Connection error.: Connection reset by peer"
    assert found.mends and found.perhaps_charged
    error.__cause__ = ConnectError("Connection refused")
    assert refused(error, sdk).mends and not refused(error, sdk).perhaps_charged
    assert str(refused(TimedOut(), sdk)) == "no reply within 7 s"


def test_a_certificate_that_cannot_be_verified_will_not_mend(sdk: Any) -> None:
    error = Unconnected("Connection error.")
    error.__cause__ = ConnectError(
        "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate"
    )
    assert not refused(error, sdk).mends


# --- Key and address


def test_the_key_comes_from_the_environment_alone(sdk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = sdk(lambda sent: completion())
    monkeypatch.delenv("OPENAI_API_KEY")
    api()
    assert made.clients[0]["api_key"] == "none"
    monkeypatch.delenv("OPENAI_BASE_URL")
    with pytest.raises(UserError, match="set OPENAI_API_KEY to your key for https://api.openai.com/v1"):
        api()
    monkeypatch.setenv("OPENAI_BASE_URL", "https://user:secret@host/v1/")
    with pytest.raises(UserError, match="your key for https://host/v1$"):
        api()


def test_a_key_that_would_travel_in_clear_is_said(sdk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sdk(lambda sent: completion())
    said: list[str] = []
    api(Situation(notice=said.append))
    monkeypatch.setenv("OPENAI_BASE_URL", "http://judge.example/v1")
    api(Situation(notice=said.append))
    assert said == ["openai/m: http://judge.example/v1 is not encrypted; everybody on the way can read the key"]


def test_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    assert public_url("https://User:pw@HOST:8000/v1/?key=1#x") == "https://host:8000/v1"
    local = ["http://localhost:1/v1", "http://127.0.0.1/v1", "http://[::1]:1/v1", "http://a.localhost"]
    assert [is_this_machine(url) for url in local] == [True] * 4
    assert not is_this_machine("https://localhost.example/v1") and not is_this_machine("http://10.0.0.1/v1")
    for wrong in ("localhost:8000", "ftp://host", "http://", "http://[::1"):
        monkeypatch.setenv("OPENAI_BASE_URL", wrong)
        with pytest.raises(UserError, match="OPENAI_BASE_URL must be an address such as"):
            base_url()
    monkeypatch.setenv("OPENAI_BASE_URL", " ")
    assert base_url() == "https://api.openai.com/v1"


def test_without_the_sdk_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(UserError, match=r"judge openai: .*; pip install 'overopt\[judge\]'"):
        api()


# --- The block


def comparisons(n: int) -> list[Comparison]:
    return [
        Comparison(PromptRecord(f"{i}", f"post {i}"), Completion(f"ours {i}"), Completion(f"theirs {i}"), f"{i}")
        for i in range(n)
    ]


def test_it_judges_in_both_orders_and_then_without_sdk_and_key(
    sdk: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A judge that prefers ours wherever it stands, but the first text where the post is number 1."""

    def act(sent: dict[str, Any]) -> str:
        text = sent["messages"][-1]["content"]
        first = "post 1" in text or text.index("ours") < text.index("theirs")
        return completion(f"Comparison: ...\nPreferred: {'A' if first else 'B'}")

    made = sdk(act)
    judge = load(OpenAI, {"model": "m", "attempts": 2})
    situation = Situation(cache=tmp_path / "judgements.sqlite", notice=lambda text: None)
    first = judge.judge(comparisons(3), situation)
    assert [judgement.outcome for judgement in first] == [1.0, 0.5, 1.0]
    assert len(made.sent) == 6
    monkeypatch.setitem(sys.modules, "openai", None)
    monkeypatch.delenv("OPENAI_API_KEY")
    assert judge.judge(comparisons(3), situation) == first
    assert judge.identity(situation).id == "openai/m:j1"


def test_the_identity_is_that_of_model_endpoint_and_sampling(sdk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    situation = Situation()
    hashes = [OpenAI(model=model, max_tokens=most).identity(situation).hash for model in "mn" for most in (None, 9)]
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:10/v1")
    hashes.append(OpenAI(model="m").identity(situation).hash)
    assert len(set(hashes)) == 5
    monkeypatch.setenv("OPENAI_BASE_URL", "http://user:password@127.0.0.1:9/v1/")
    assert OpenAI(model="m", concurrency=2, timeout=1.0).identity(situation).hash == hashes[0]


def test_max_tokens_replaces_the_prompts_own(sdk: Any, tmp_path: Path) -> None:
    made = sdk(lambda sent: completion())
    situation = Situation(cache=tmp_path / "judgements.sqlite", notice=lambda text: None)
    load(OpenAI, {"model": "m", "max_tokens": 77, "orders": "random"}).judge(comparisons(1), situation)
    assert [sent["max_tokens"] for sent in made.sent] == [77]


def test_one_budget_for_all_evaluations_of_a_command(sdk: Any, tmp_path: Path) -> None:
    sdk(lambda sent: completion())
    judge = load(OpenAI, {"model": "m", "max_requests": 5})
    situation = Situation(cache=tmp_path / "judgements.sqlite", notice=lambda text: None)
    judge.judge(comparisons(2), situation)
    with pytest.raises(UserError, match=r"max_requests 5; .*; 5 of 6 answers are kept"):
        judge.judge(comparisons(3), situation)


def test_the_cost_is_said_without_asking(sdk: Any, tmp_path: Path) -> None:
    openai._spending.cache_clear()
    made = sdk(lambda sent: completion())
    judge = load(OpenAI, {"model": "m", "max_tokens": 50, "input_price": 0.0, "output_price": 1e6})
    situation = Situation(cache=tmp_path / "judgements.sqlite", notice=lambda text: None)
    judge.judge(comparisons(1), situation)
    twice = [*comparisons(3), *comparisons(3)]  # equal questions are asked once
    assert len(made.sent) == 2
    told = judge.forecast(twice, situation)
    assert told.startswith("6 questions, 2 of them answered before; 4 requests to send, about ")
    assert told.endswith(" at most 200 out, cost 200")
    judge.judge(twice, situation)
    assert judge.forecast(twice, situation) == "6 questions, 6 of them answered before"


def test_it_is_chosen_by_name() -> None:
    assert judge_from("{name: openai, model: gpt-4o-mini, prompt: j2}") == OpenAI(model="gpt-4o-mini", prompt=J2())
    with pytest.raises(UserError, match="model"):
        judge_from("openai")


def test_a_limit_of_money_needs_prices() -> None:
    with pytest.raises(UserError, match="max_cost: needs input_price and output_price"):
        judge_from("{name: openai, model: m, max_cost: 1.0, input_price: 0.15}")


def test_want_of_a_key_is_said_before_long_work(sdk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sdk(lambda sent: completion())
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.delenv("OPENAI_BASE_URL")
    for text in ("{name: openai, model: m}", "{name: majority, judges: [reward_model, {name: openai, model: m}]}"):
        with pytest.raises(UserError, match="judge openai: set OPENAI_API_KEY to your key"):
            judge_from(text).check()
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    judge_from("{name: openai, model: m}").check()
