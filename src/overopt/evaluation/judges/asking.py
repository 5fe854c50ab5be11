"""Sends the questions that nobody has answered yet: several at once, with a shared pace, retries and a budget."""

from __future__ import annotations

import email.utils
import math
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Protocol

from overopt.errors import UserError
from overopt.evaluation.judges.base import Answer, Question, encodable
from overopt.evaluation.judges.budget import Budget, BudgetError
from overopt.evaluation.judges.cache import Cache, key_of
from overopt.redaction import excerpt, redact

FIRST_DELAY, LONGEST_DELAY = 1.0, 60.0
"""Seconds before the first repetition of a failed request, doubled each time; and their limit."""
LONGEST_PAUSE = 600.0
"""Seconds that an endpoint's Retry-After is followed; then it is asked whether that was meant."""
GRACE = 1.0
"""Seconds that requests under way have after Ctrl-C."""
MARGIN = 30.0
"""Seconds that a claim in the cache outlives the time-out of its request."""
POLL = 0.1


class RequestError(Exception):
    """A request that brought no answer. `str` says what the endpoint said, or what went wrong."""

    def __init__(
        self,
        said: str,
        *,
        mends: bool,
        pause: float | None = None,
        slow_down: bool = False,
        perhaps_charged: bool = False,
        adapted: bool = False,
    ) -> None:
        super().__init__(said)
        self.mends = mends
        """Whether the same request may succeed later."""
        self.pause = pause
        """Seconds after which the endpoint wants to be asked again."""
        self.slow_down = slow_down
        """Whether the endpoint is busy, so that all requests must wait, not this one alone."""
        self.perhaps_charged = perhaps_charged
        self.adapted = adapted
        """Whether the next request will be another, which is no repetition."""


class Backend(Protocol):
    """Sends one question to a language model."""

    judge: str
    """For notices and errors: `openai/gpt-4o-mini:j1`."""
    identity: Mapping[str, Any]
    """Who is asked: what, beside the question, decides the reply. A part of the cache's key."""
    timeout: float
    """Longest duration of a request, in seconds."""

    def open(self) -> None:
        """Get ready to send; UserError: it cannot. Called once there is a question that the cache cannot answer."""

    def send(self, question: Question) -> Answer:
        """Send one request; RequestError if no answer comes of it. Called by several threads at once."""


@dataclass
class Pace:
    """When the next request may be sent: shared by all threads, and by all questions of a process to one judge."""

    requests_per_minute: float | None = None
    _next: float = field(default=-math.inf)
    _paused_until: float = field(default=-math.inf)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def slot(self, now: float) -> float:
        """Take the next place; return for how many seconds to wait for it. 0: the place is taken, send."""
        with self._lock:
            wait = max(self._paused_until, self._next) - now
            if wait > 0:
                return wait
            if self.requests_per_minute is not None:
                self._next = now + 60 / self.requests_per_minute
            return 0.0

    def pause(self, until: float) -> None:
        """Let nobody send before a point in time."""
        with self._lock:
            self._paused_until = max(self._paused_until, until)


def retry_after(value: str | None, now: float) -> float | None:
    """Return the seconds of a Retry-After header, a number or an HTTP date; `now` is in seconds since 1970.

    None: there is no header, or none that can be read.
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            date = email.utils.parsedate_to_datetime(value)
        except (ValueError, IndexError, OverflowError):
            return None
        seconds = max(0.0, date.replace(tzinfo=date.tzinfo or UTC).timestamp() - now)
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def backoff(failures: int, draw: float) -> float:
    """Return the seconds to wait after a number of failures in a row; `draw` in [0, 1) is the jitter."""
    return min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** (failures - 1)) * (0.5 + draw / 2)


def utc_now() -> str:
    """Return the date of an answer that arrives now."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def ask(
    questions: Sequence[Question],
    backend: Backend,
    cache: Cache,
    budget: Budget,
    pace: Pace,
    *,
    concurrency: int = 8,
    tries: int = 7,
    progress: Callable[[int, int], None] = lambda done, total: None,
    notice: Callable[[str], None] = lambda text: None,
) -> list[Answer]:
    """Return the answer to each question, in order; equal questions are asked once.

    What the cache knows is not asked. Every answer is in the cache before it counts as done, so whatever ends this
    early, the same call continues where it ended. UserError: a limit of the budget is reached, or the endpoint refuses
    or fails `tries` times in a row for one question.
    """
    keys = [key_of(backend.identity, question) for question in questions]
    wanted = dict(zip(keys, questions, strict=True))
    answers = cache.find(wanted)
    waiting = {key: question for key, question in wanted.items() if key not in answers}
    progress(len(answers), len(wanted))
    if waiting:
        backend.open()
        first = min(question.attempt for question in questions) == 1
        known = f"{len(wanted):,} questions, {len(answers):,} of them answered before"
        again = f"replies that could not be read are asked for again ({len(wanted):,})"
        notice(f"{backend.judge}: {known if first else again}; {budget.forecast(waiting.values())}")
        asking = _Asking(waiting, answers, len(wanted), backend, cache, budget, pace, tries)
        try:
            asking.run(min(concurrency, len(waiting)), progress, notice)
        finally:
            notice(f"{backend.judge}: {budget.bill()} since this command began")
    return [answers[key] for key in keys]


class _Stopping(Exception):
    """Unwinds a thread once no more requests are to be sent."""


class _Asking:
    """One call of `ask`: threads that take questions until none is left or something ends it."""

    def __init__(
        self,
        waiting: Mapping[str, Question],
        answers: dict[str, Answer],
        total: int,
        backend: Backend,
        cache: Cache,
        budget: Budget,
        pace: Pace,
        tries: int,
    ) -> None:
        self.questions, self.answers, self.total = waiting, answers, total
        self.backend, self.cache, self.budget, self.pace, self.tries = backend, cache, budget, pace, tries
        self.left = deque(waiting)
        self.notices: deque[str] = deque()
        self.said: set[str] = set()
        self.active = 0
        self.ended_by: BaseException | None = None
        self.stop = threading.Event()
        self.changed = threading.Condition()

    def run(self, threads: int, progress: Callable[[int, int], None], notice: Callable[[str], None]) -> None:
        """Answer all questions. Callbacks run in the calling thread."""
        self.active, known = threads, len(self.answers)
        try:
            for _ in range(threads):  # daemons: a process that ends does not wait for a reply
                threading.Thread(target=self._work, daemon=True).start()
            self._watch(known, threads, progress, notice)
        except BaseException:  # Ctrl-C above all
            self.stop.set()
            with self.changed:
                self.changed.wait_for(lambda: not self.active, timeout=GRACE)
            raise
        finally:
            with suppress(UserError):  # of a cache that has failed already; claims end by themselves, too
                self.cache.release()
        if isinstance(self.ended_by, RequestError | BudgetError):
            kept = f"{len(self.answers):,} of {self.total:,} answers are kept in {self.cache.path}"
            raise UserError(
                f"{self.backend.judge}: {redact(str(self.ended_by))}; {kept}, and the same command continues from there"
            ) from None
        if self.ended_by is not None:
            raise self.ended_by

    def _watch(
        self, shown: int, active: int, progress: Callable[[int, int], None], notice: Callable[[str], None]
    ) -> None:
        """Pass on what the threads say and do, until all have ended; they may have ended already."""

        def news() -> bool:
            return bool(self.notices) or (len(self.answers), self.active) != (shown, active)

        while active:
            with self.changed:
                self.changed.wait_for(news, timeout=1.0)
                done, active = len(self.answers), self.active
            while self.notices:
                notice(f"{self.backend.judge}: {self.notices.popleft()}")
            if done != shown:
                progress(done, self.total)
                shown = done

    def _work(self) -> None:
        try:
            while (key := self._next()) is not None:
                self._answer(key)
        except _Stopping:
            pass
        except BaseException as error:
            with self.changed:
                self.ended_by = self.ended_by or error
            self.stop.set()
        finally:
            with self.changed:
                self.active -= 1
                self.changed.notify_all()

    def _next(self) -> str | None:
        with self.changed:
            return self.left.popleft() if self.left and not self.stop.is_set() else None

    def _answer(self, key: str) -> None:
        """Get one question answered, or put it back because another process is asking it."""
        question, failures, seen = self.questions[key], 0, -1
        while True:
            self._wait_for_slot()
            known = self.cache.claim(key, self.backend.timeout + MARGIN)
            if isinstance(known, Answer):
                return self._done(key, known)
            if not known:
                self._wait(POLL)
                with self.changed:
                    self.left.append(key)
                return None
            self._reserve(question)
            try:
                answer = self.backend.send(question)
            except RequestError as error:
                self.budget.fail(question, error.perhaps_charged)
                if error.slow_down and len(self.answers) > seen:  # busy, but it does answer: wait as long as it takes
                    failures, seen = 0, len(self.answers)
                failures += not error.adapted
                self._recover(error, failures)
            except BaseException:
                self.budget.fail(question, True)
                raise
            else:
                self.budget.settle(question, answer)
                return self._done(key, self.cache.keep(key, self.backend.judge, self._cleaned(answer)))

    def _done(self, key: str, answer: Answer) -> None:
        with self.changed:
            self.answers[key] = answer
            self.changed.notify_all()

    def _cleaned(self, answer: Answer) -> Answer:
        return replace(answer, text=redact(encodable(answer.text)))

    def _recover(self, error: RequestError, failures: int) -> None:
        """Wait before the request is sent again; RequestError if that is no use."""
        said = excerpt(str(error))
        if error.adapted:
            self._say(said, once=said)
            return
        if not error.mends:
            raise RequestError(f"the request was refused: {said}", mends=False) from None
        if failures >= self.tries:
            raise RequestError(f"{failures} requests in a row failed, the last one: {said}", mends=False) from None
        self._say(f"a request failed ({said}); it is sent again, as all that fail", once="failure")
        seconds = backoff(failures, random.random())
        if error.pause is not None:
            if error.pause > LONGEST_PAUSE:
                said = f"the endpoint asks for a pause of {error.pause:,.0f} s; {LONGEST_PAUSE:,.0f} s are made"
                self._say(said, once="pause")
            # no sooner than asked, and not at the same instant as other processes
            seconds = min(error.pause, LONGEST_PAUSE) + min(1.0, seconds) * random.random()
        if error.slow_down:
            self.pace.pause(time.monotonic() + seconds)
        else:
            self._wait(seconds)

    def _wait_for_slot(self) -> None:
        while (seconds := self.pace.slot(time.monotonic())) > 0:
            self._wait(seconds)
        if self.stop.is_set():
            raise _Stopping

    def _reserve(self, question: Question) -> None:
        """Reserve a request in the budget, where necessary after those under way have shown what they use."""
        while not self.budget.reserve(question):
            self._wait(POLL)

    def _wait(self, seconds: float) -> None:
        if self.stop.wait(seconds):
            raise _Stopping

    def _say(self, text: str, once: str) -> None:
        """Pass on a notice, one for each `once`."""
        with self.changed:
            if once not in self.said:
                self.said.add(once)
                self.notices.append(text)
                self.changed.notify_all()
