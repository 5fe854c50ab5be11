from __future__ import annotations

import _thread
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from overopt.errors import UserError
from overopt.evaluation.judges import asking
from overopt.evaluation.judges.asking import Pace, RequestError, ask, backoff, retry_after
from overopt.evaluation.judges.base import Answer, Question
from overopt.evaluation.judges.budget import Budget, Limits, Usage
from overopt.evaluation.judges.cache import Cache


def question(i: int) -> Question:
    return Question((("user", f"{i}"),), max_tokens=5)


QUESTIONS = [question(i) for i in range(20)]


class Model:
    """Answers a question with its own text, unless `act` raises or says otherwise at the n-th time (from 1)."""

    judge = "fake/model:j1"
    timeout = 5.0

    def __init__(self, act: Callable[[str, int], str | None] = lambda text, time: None) -> None:
        self.act = act
        self.identity: Mapping[str, Any] = {"model": "fake"}
        self.sent: Counter[str] = Counter()
        self.opened = 0
        self.lock = threading.Lock()

    def open(self) -> None:
        self.opened += 1

    def send(self, question: Question) -> Answer:
        text = question.messages[0][1]
        with self.lock:
            self.sent[text] += 1
            times = self.sent[text]
        return Answer(self.act(text, times) or f"answer {text}", asking.utc_now(), 10, 2)


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    with Cache(tmp_path / "judgements.sqlite") as cache:
        yield cache


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "FIRST_DELAY", 0.001)
    monkeypatch.setattr(asking, "POLL", 0.001)


def run(
    questions: Sequence[Question], model: Model, cache: Cache, limits: Limits | None = None, **options: Any
) -> list[str]:
    budget = options.pop("budget", Budget(limits or Limits()))
    return [answer.text for answer in ask(questions, model, cache, budget, options.pop("pace", Pace()), **options)]


def fails(text: str, times: int, **how: Any) -> Callable[[str, int], None]:
    """The first `times` requests for a question fail."""

    def act(asked: str, time: int) -> None:
        if text in (asked, "all") and time <= times:
            raise RequestError("HTTP 500: try later", **{"mends": True, **how})

    return act


# --- What is asked


def test_answers_come_in_order_and_nothing_is_asked_twice(cache: Cache) -> None:
    model, shown = Model(), list[tuple[int, int]]()
    asked = [*QUESTIONS, QUESTIONS[3], QUESTIONS[0]]
    expected = [f"answer {q.messages[0][1]}" for q in asked]
    assert run(asked, model, cache, progress=lambda done, total: shown.append((done, total))) == expected
    assert model.sent == Counter(f"{i}" for i in range(20))
    assert shown[0] == (0, 20) and shown[-1] == (20, 20) and shown == sorted(shown)
    again = Model()
    assert run(asked, again, cache) == expected
    assert (again.opened, again.sent) == (0, Counter())  # no key and no SDK is needed for what is known


def test_another_attempt_and_another_model_are_other_questions(cache: Cache) -> None:
    model = Model()
    run([question(1)], model, cache)
    said: list[str] = []
    run([replace(question(1), attempt=2)], model, cache, notice=said.append)
    assert said[0].startswith(
        "fake/model:j1: replies that could not be read are asked for again (1); 1 requests to send"
    )
    model.identity = {"model": "another"}
    run([question(1)], model, cache)
    assert model.sent == {"1": 3}


def test_two_at_once_share_the_work(tmp_path: Path) -> None:
    """As two processes would: each has opened the file for itself."""
    path, model, found = tmp_path / "judgements.sqlite", Model(lambda text, times: time.sleep(0.005)), []

    def work() -> None:
        with Cache(path) as cache:
            found.append(run(QUESTIONS, model, cache, concurrency=4))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[f"answer {i}" for i in range(20)]] * 2
    assert model.sent == Counter(f"{i}" for i in range(20))


def test_no_more_than_the_concurrency_is_under_way(cache: Cache) -> None:
    under_way, most, lock = 0, 0, threading.Lock()

    def act(text: str, times: int) -> None:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        time.sleep(0.02)
        with lock:
            under_way -= 1

    run(QUESTIONS, Model(act), cache, concurrency=3)
    assert most == 3


def test_an_answer_is_stored_without_secrets(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "planted-0123456789")
    model = Model(lambda text, times: "planted-0123456789 \ud800")
    assert run([question(1)], model, cache) == run([question(1)], model, cache) == ["[redacted] ?"]
    assert b"planted" not in cache.path.read_bytes() + cache.path.with_name("judgements.sqlite-wal").read_bytes()


# --- Failures


def test_what_may_mend_is_sent_again(cache: Cache) -> None:
    notices: list[str] = []
    budget = Budget(Limits())
    model = Model(fails("all", 2))
    assert run(QUESTIONS, model, cache, budget=budget, notice=notices.append) == [f"answer {i}" for i in range(20)]
    assert set(model.sent.values()) == {3}
    assert budget.spent == Usage(60, 200, 40) and budget.lost == Usage()
    assert [text for text in notices if "failed" in text] == [
        "fake/model:j1: a request failed (HTTP 500: try later); it is sent again, as all that fail"
    ]
    assert notices[-1] == "fake/model:j1: 60 requests, 200 tokens in, 40 out since this command began"


def test_after_some_tries_it_stops_and_says_what_is_kept(cache: Cache) -> None:
    model = Model(fails("7", 3))
    with pytest.raises(UserError) as stopped:
        run(QUESTIONS, model, cache, tries=3, concurrency=1)
    assert str(stopped.value) == (
        "fake/model:j1: 3 requests in a row failed, the last one: HTTP 500: try later; 7 of 20 answers are kept in "
        f"{cache.path}, and the same command continues from there"
    )
    assert run(QUESTIONS, model, cache) == [f"answer {i}" for i in range(20)]
    assert model.sent == Counter(f"{i}" for i in range(20)) + Counter({"7": 3})


def test_what_will_not_mend_stops_at_once(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "planted-0123456789")

    def act(text: str, times: int) -> None:
        raise RequestError("HTTP 401: planted-0123456789 is no key", mends=False)

    model = Model(act)
    with pytest.raises(UserError, match=r"the request was refused: HTTP 401: \[redacted\] is no key; 0 of 20"):
        run(QUESTIONS, model, cache, concurrency=2)
    assert sum(model.sent.values()) <= 2


def test_other_requests_under_way_are_waited_for(cache: Cache) -> None:
    """An answer on its way is paid for, so it is kept although another request ends the run."""
    both = threading.Barrier(2)

    def act(text: str, times: int) -> None:
        both.wait()
        if text == "0":
            raise RequestError("HTTP 403: no", mends=False)
        time.sleep(0.1)

    with pytest.raises(UserError, match="1 of 2 answers are kept"):
        run(QUESTIONS[:2], Model(act), cache, concurrency=2)


def test_a_fault_of_ours_is_raised_as_it_is(cache: Cache) -> None:
    def act(text: str, times: int) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(QUESTIONS, Model(act), cache)


def test_a_request_that_was_adapted_is_no_failure(cache: Cache) -> None:
    notices: list[str] = []
    model = Model(fails("all", 3, adapted=True))
    run([question(1)], model, cache, tries=1, notice=notices.append)
    assert notices[1] == "fake/model:j1: HTTP 500: try later"


def test_an_endpoint_that_is_busy_is_waited_for_as_long_as_it_answers(cache: Cache) -> None:
    """Each question is refused more often than there are tries, but never so often in a row without any answer."""
    last = Counter[str]()

    def act(text: str, times: int) -> None:
        last[text] += 1
        if sum(last.values()) % 3:
            raise RequestError("HTTP 429", mends=True, slow_down=True)

    model = Model(act)
    run(QUESTIONS, model, cache, tries=3, concurrency=4)
    assert sum(model.sent.values()) == 60


def test_retry_after_stops_all_threads(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """One request is refused for 0.3 s; afterwards nobody sends anything for that long."""
    monkeypatch.setattr(asking.random, "random", lambda: 0.0)
    sent: list[float] = []
    refused: list[float] = []

    def act(text: str, times: int) -> None:
        sent.append(time.monotonic())
        if text == "3" and times == 1:
            refused.append(time.monotonic())
            raise RequestError("HTTP 429", mends=True, slow_down=True, pause=0.3)
        time.sleep(0.01)

    run(QUESTIONS, Model(act), cache, concurrency=2)
    after = sorted(t for t in sent if t > refused[0])
    assert sum(t - refused[0] < 0.25 for t in after) <= 1  # the other thread may have been about to send
    assert len(sent) == 21


def test_a_pause_that_is_too_long_is_capped_and_said(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "LONGEST_PAUSE", 0.01)
    notices: list[str] = []
    model = Model(fails("all", 1, slow_down=True, pause=86400.0))
    run([question(1)], model, cache, notice=notices.append)
    assert "fake/model:j1: the endpoint asks for a pause of 86,400 s; 0 s are made" in notices


# --- Budget


def test_the_estimate_is_shown_first_and_the_bill_last(cache: Cache) -> None:
    run(QUESTIONS[:5], Model(), cache)
    said: list[str] = []
    model = Model(lambda text, times: said.append("sent"))
    run(QUESTIONS[:7], model, cache, Limits(input_price=1.0, output_price=10.0), notice=said.append)
    # 1 byte and two times 16 tokens of a template are 33, a quarter is 8
    assert said == [
        "fake/model:j1: 7 questions, 5 of them answered before; 2 requests to send, about 16 tokens in, "
        "at most 10 out, cost 0.000116",
        "sent",
        "sent",
        "fake/model:j1: 2 requests, 20 tokens in, 4 out, cost 6e-05 since this command began",
    ]


def test_it_stops_before_a_limit_is_passed_and_goes_on_when_it_is_raised(cache: Cache) -> None:
    """A request costs 10 in and 2 out, 3e-5; its worst case, 33 in and 5 out, 8.3e-5; so 10 fit into 3.6e-4."""
    prices = {"input_price": 1.0, "output_price": 10.0}
    model, budget = Model(), Budget(Limits(max_cost=3.6e-4, **prices))
    with pytest.raises(UserError, match="max_cost 0.00036; raise it to go on; 10 of 20 answers"):
        run(QUESTIONS, model, cache, budget=budget, concurrency=4)
    assert budget.cost(budget.spent) == pytest.approx(3e-4)
    run(QUESTIONS, model, cache, Limits(max_cost=1.0, **prices))
    assert model.sent == Counter(f"{i}" for i in range(20))


def test_a_limit_of_requests_is_exact(cache: Cache) -> None:
    model = Model(fails("all", 1))
    with pytest.raises(UserError, match="max_requests 15"):
        run(QUESTIONS, model, cache, Limits(max_requests=15))
    assert sum(model.sent.values()) == 15


# --- Ctrl-C


def test_ctrl_c_ends_it_at_once_and_keeps_what_arrives_within_a_second(cache: Cache) -> None:
    def act(text: str, times: int) -> None:
        if text == "1":
            _thread.interrupt_main()
            time.sleep(0.2)
        if text == "2":
            time.sleep(30)

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run(QUESTIONS[1:], Model(act), cache, concurrency=2)
    assert time.monotonic() - began < 10
    model = Model()
    run(QUESTIONS[1:2], model, cache)
    assert model.sent == Counter()


# --- Pace


def test_requests_are_spread_over_the_minute() -> None:
    pace = Pace(requests_per_minute=30)
    assert [pace.slot(now) for now in (100.0, 100.0, 101.5, 102.0, 103.0)] == [0.0, 2.0, 0.5, 0.0, 1.0]


def test_a_pause_is_for_all_and_is_never_shortened() -> None:
    pace = Pace()
    pace.pause(110.0)
    pace.pause(105.0)
    assert [pace.slot(now) for now in (100.0, 109.0, 110.0, 110.0)] == [10.0, 1.0, 0.0, 0.0]


def test_the_delay_doubles_up_to_a_limit_with_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "FIRST_DELAY", 1.0)
    assert [backoff(n, 0.0) for n in (1, 2, 3, 7, 50)] == [0.5, 1.0, 2.0, 30.0, 30.0]
    assert backoff(3, 0.5) == 3.0


NOW = 1445412480.0  # Wed, 21 Oct 2015 07:28:00 GMT


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("120", 120.0),
        ("0", 0.0),
        (" 1.5 ", 1.5),
        ("Wed, 21 Oct 2015 07:28:30 GMT", 30.0),
        ("Wed, 21 Oct 2015 09:28:30 +0200", 30.0),
        ("Wednesday, 21-Oct-15 07:28:30 GMT", 30.0),
        ("Wed Oct 21 07:28:30 2015", 30.0),
        ("Wed, 21 Oct 2015 07:00:00 GMT", 0.0),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("soon", None),
        ("", None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, NOW) == seconds
