"""A judge behind an OpenAI-compatible API: hosted, or a server of your own (vLLM, llama.cpp, `transformers serve`)."""

from __future__ import annotations

import functools
import importlib
import ipaddress
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Self
from urllib.parse import urlsplit, urlunsplit

from pydantic import Field, model_validator

from overopt.config import block
from overopt.config.fields import NonNegative, Positive
from overopt.errors import UserError
from overopt.evaluation.judges.asking import Pace, RequestError, ask, retry_after, utc_now
from overopt.evaluation.judges.base import Answer, Comparison, Question, Situation, encodable
from overopt.evaluation.judges.budget import Budget, Limits
from overopt.evaluation.judges.cache import Cache, default_cache, key_of
from overopt.evaluation.judges.replies import LanguageModelJudge, first_questions

KEY, BASE_URL = "OPENAI_API_KEY", "OPENAI_BASE_URL"
HOSTED = "https://api.openai.com/v1"
NO_KEY = "none"
"""Sent to a server on this machine, since the SDK insists on a key."""
TEMPERATURE = 0.0
Count = Annotated[int, Field(gt=0)]


@block
class OpenAI(LanguageModelJudge):
    """A model behind an OpenAI-compatible chat API; the key is in OPENAI_API_KEY, the address in OPENAI_BASE_URL."""

    config_name: ClassVar[str] = "openai"

    model: Annotated[str, Field(min_length=1)]
    """Its name at the endpoint: `gpt-4o-mini`."""
    max_tokens: Count | None = None
    """Longest reply, in tokens; null: what the prompt asks for. A model that reasons first needs a few thousand."""
    concurrency: Count = 8
    """Requests under way at once."""
    requests_per_minute: Positive | None = None
    timeout: Positive = 60.0
    """Seconds of silence after which a request counts as failed."""
    max_requests: Count | None = None
    """Most requests that a command sends, repetitions included."""
    max_cost: Positive | None = None
    """Most that a command may cost, in the currency of the prices; needs both prices."""
    input_price: NonNegative | None = None
    """Price of a million tokens of the questions."""
    output_price: NonNegative | None = None
    """Price of a million tokens of the replies."""

    @model_validator(mode="after")
    def _prices_for_a_limit(self) -> Self:
        if self.max_cost is not None and (self.input_price is None or self.output_price is None):
            raise ValueError("max_cost: needs input_price and output_price, the prices of a million tokens")
        return self

    def limits(self) -> Limits:
        return Limits(self.max_requests, self.max_cost, self.input_price, self.output_price)

    def label(self) -> str:
        return f"openai/{self.model}"

    def decisive(self, situation: Situation) -> Mapping[str, Any]:
        sampling = {"temperature": TEMPERATURE, "max_tokens": self.max_tokens}
        return {"kind": "openai", "model": self.model, "base_url": public_url(base_url()), **sampling}

    def ask(self, questions: Sequence[Question], situation: Situation) -> Sequence[Answer]:
        api = ChatAPI(self.label(), self.model, self.decisive(situation), self.timeout, situation)
        budget, pace = self._budget_and_pace()
        with Cache(situation.cache or default_cache()) as cache:
            return ask(
                self._as_sent(questions),
                api,
                cache,
                budget,
                pace,
                concurrency=self.concurrency,
                progress=situation.progress,
                notice=situation.notice,
            )

    def check(self) -> None:
        ChatAPI(self.label(), self.model, {}, self.timeout, Situation()).open()

    def forecast(self, comparisons: Sequence[Comparison], situation: Situation) -> str:
        questions = self._as_sent(first_questions(comparisons, self))
        wanted = {key_of(self.decisive(situation), question): question for question in questions}
        with Cache(situation.cache or default_cache()) as cache:
            known = cache.find(wanted)
        waiting = [question for key, question in wanted.items() if key not in known]
        return f"{len(wanted):,} questions, {len(known):,} of them answered before" + (
            f"; {self._budget_and_pace()[0].forecast(waiting)}" if waiting else ""
        )

    def _as_sent(self, questions: Sequence[Question]) -> Sequence[Question]:
        if self.max_tokens is None:
            return questions
        return [replace(question, max_tokens=self.max_tokens) for question in questions]

    def _budget_and_pace(self) -> tuple[Budget, Pace]:
        return _spending(self.label(), base_url(), self.limits(), self.requests_per_minute)


@functools.cache
def _spending(judge: str, endpoint: str, limits: Limits, requests_per_minute: float | None) -> tuple[Budget, Pace]:
    """What a judge has spent, and its pace: one for this process, since a command asks for many evaluations."""
    return Budget(limits), Pace(requests_per_minute)


@dataclass
class _Manner:
    """The parameters that a model takes, as far as its refusals have taught them."""

    limit_name: str = "max_tokens"
    sampling: Mapping[str, Any] = field(default_factory=lambda: {"temperature": TEMPERATURE})


@functools.cache
def _manner(model: str, endpoint: str) -> _Manner:
    """What this process has learned of a model: one for all evaluations of a command, as above."""
    return _Manner()


def base_url() -> str:
    """Return the endpoint; UserError if OPENAI_BASE_URL is not an address."""
    url = os.environ.get(BASE_URL, "").strip() or HOSTED
    try:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname:
            return url
    except ValueError:
        pass
    raise UserError(f"{BASE_URL} must be an address such as http://localhost:8000/v1")


def public_url(url: str) -> str:
    """Return an address without what may be secret in it: user, password, query."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2].lower()
    return urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))


def is_this_machine(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


class ChatAPI:
    """Sends questions by the `openai` SDK, which repeats nothing by itself: every request is counted."""

    def __init__(
        self, judge: str, model: str, identity: Mapping[str, Any], timeout: float, situation: Situation
    ) -> None:
        self.judge, self.model, self.identity, self.timeout = judge, model, identity, timeout
        self.notice = situation.notice
        self.manner = _manner(model, base_url())
        self.sdk: Any = None
        self.client: Any = None

    def open(self) -> None:
        try:
            self.sdk = importlib.import_module("openai")
        except ImportError as error:
            raise UserError(f"judge openai: {error}; pip install 'overopt[judge]'") from error
        url, key = base_url(), os.environ.get(KEY, "").strip()
        if not key and not is_this_machine(url):
            raise UserError(f"judge openai: set {KEY} to your key for {public_url(url)}")
        if urlsplit(url).scheme == "http" and not is_this_machine(url):
            self.notice(f"{self.judge}: {public_url(url)} is not encrypted; everybody on the way can read the key")
        self.client = self.sdk.OpenAI(api_key=key or NO_KEY, base_url=url, max_retries=0, timeout=self.timeout)

    def send(self, question: Question) -> Answer:
        messages = [{"role": role, "content": encodable(content)} for role, content in question.messages]
        sent = {self.manner.limit_name: question.max_tokens, **self.manner.sampling}
        try:
            raw = self.client.chat.completions.with_raw_response.create(model=self.model, messages=messages, **sent)
            text = raw.http_response.text
        except self.sdk.APIStatusError as error:
            return self._refused(error, sent)
        except self.sdk.APITimeoutError as error:
            raise _broken(error, f"no reply within {self.timeout:g} s") from error
        except self.sdk.APIConnectionError as error:
            raise _broken(error) from error
        return read_completion(text)

    def _refused(self, error: Any, sent: Mapping[str, Any]) -> Answer:
        """Return an answer without text where this one text was refused; else raise what is to be done."""
        status, code, said = error.status_code, error.code, f"HTTP {error.status_code}: {_message(error)}"
        if status == 400 and code in ("content_filter", "context_length_exceeded"):
            return Answer("", utc_now(), 0, 0)
        if status == 400 and (adapted := self._adapt(error, sent)):
            raise RequestError(adapted, mends=True, adapted=True) from error
        headers = error.response.headers
        pause = retry_after(headers.get("retry-after"), time.time())
        if (milliseconds := retry_after(headers.get("retry-after-ms"), time.time())) is not None:
            pause = milliseconds / 1000
        mends = status in (408, 409, 425, 429) or status >= 500
        if code == "insufficient_quota":  # sent with status 429, but no pause mends it
            mends = False
        raise RequestError(
            said, mends=mends, pause=pause, slow_down=status == 429 or pause is not None, perhaps_charged=False
        ) from error

    def _adapt(self, error: Any, sent: Mapping[str, Any]) -> str:
        """Learn that the model takes other parameters; return what was learned, or nothing.

        Models that reason refuse `max_tokens`, whose successor other servers ignore, and any temperature but 1.
        """
        said = str(_message(error))
        if "max_tokens" in sent and (error.param == "max_tokens" or "max_completion_tokens" in said):
            self.manner.limit_name = "max_completion_tokens"
            return f"{self.model} takes max_completion_tokens in place of max_tokens"
        if "temperature" in sent and (error.param == "temperature" or "'temperature'" in said):
            self.manner.sampling = {}
            return f"{self.model} refuses temperature 0, and judges at its own: asked again, it may answer otherwise"
        return ""


def read_completion(text: str) -> Answer:
    """Return the answer in the body of a response; RequestError if it is no chat completion.

    A completion without text (no choice, a refusal, a content filter, a tool call) is an answer without text, which no
    prompt can read: an invalid reply.
    """
    try:
        body = json.loads(text)
        usage = body.get("usage") or {}
        choices = body["choices"]
        message = choices[0]["message"] if choices else {}
        said = message.get("content") or message.get("refusal") or ""
        counts = [int(usage.get(name) or 0) for name in ("prompt_tokens", "completion_tokens")]
        if not isinstance(choices, list) or not isinstance(said, str) or min(counts) < 0:
            raise TypeError
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        said = f"the response is no chat completion, or a part of one: {text[:1000]!r}"
        raise RequestError(said, mends=True, perhaps_charged=True) from error
    return Answer(said, utc_now(), *counts)


def _message(error: Any) -> str:
    """What an endpoint says of an error: the message, or all of the body."""
    body = error.body
    if isinstance(body, dict) and isinstance(body.get("message"), str):
        return body["message"]
    return str(error.message)


def _broken(error: BaseException, said: str = "") -> RequestError:
    """A connection that failed. The SDK says little of it, so what lies behind it is said, too."""
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and len(causes) < 8:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    said = said or ": ".join(dict.fromkeys(str(cause) or type(cause).__name__ for cause in causes))
    never_sent = any(type(cause).__name__ in ("ConnectError", "ConnectTimeout", "PoolTimeout") for cause in causes)
    trusted = "certificate verify failed" not in said.lower()
    return RequestError(said, mends=trusted, perhaps_charged=not never_sent)
