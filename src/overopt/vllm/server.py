"""Requests to a vLLM server: what may pass is tried again for as long as the user is patient, the rest is an error."""

from __future__ import annotations

import http.client
import json
import os
import random
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, TypeVar
from urllib.parse import urlsplit

from overopt.errors import UserError
from overopt.evaluation.judges.asking import FIRST_DELAY, retry_after
from overopt.evaluation.judges.openai import is_this_machine, public_url
from overopt.redaction import excerpt

T = TypeVar("T")
KEY = "VLLM_API_KEY"
LONGEST_DELAY = 15.0
"""Seconds between two tries; a server that was started again is found this soon."""
TRIES = 6
"""How often in a row a request may end in HTTP 500: that is seldom a fault that passes."""
BUSY = (408, 409, 425, 429)
"""Statuses below 500 after which the same request may succeed."""


class ServerError(Exception):
    """A request that did not bring what was asked for. `str` says what the server said, or what went wrong."""

    def __init__(self, said: str, *, passing: bool, status: int | None = None, pause: float | None = None) -> None:
        super().__init__(said)
        self.passing = passing
        """Whether the same request may succeed later."""
        self.status = status
        self.pause = pause
        """Seconds after which the server wants to be asked again."""


def base_url(url: str) -> str:
    """Return a server's address without `/v1`; ValueError if it is none."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"url: must be an address such as http://localhost:8000, got {url!r}")
    return url.rstrip("/").removesuffix("/v1").rstrip("/")


@dataclass
class Server:
    """One server. Its methods are called by several threads at once."""

    url: str
    timeout: float
    """Seconds of silence after which a request counts as failed."""
    patience: float
    """Seconds for which requests that fail are sent again."""
    notice: Callable[[str], None]
    _said: set[str] = field(default_factory=set)
    _stop: threading.Event = field(default_factory=threading.Event)

    @property
    def name(self) -> str:
        """The address, without what may be secret in it."""
        return public_url(self.url)

    def get(self, path: str) -> Any:
        """Return the JSON at a path, after as many tries as it takes."""
        return self.persist(lambda: self.once("GET", path))

    def post(self, path: str, body: Any = None) -> None:
        """Send one request whose answer says no more than that it was done; ServerError if it was not."""
        text = self._once("POST", path, body)
        if not text.strip() or text.startswith(b"Success"):  # adapters are confirmed in words
            return
        answer = _decoded(text, path)
        if isinstance(answer, dict) and answer.get("success") is False:
            raise ServerError(f"{path} answers that it failed: {excerpt(str(answer))}", passing=True)

    def once(self, method: str, path: str, body: Any = None) -> Any:
        """Send one request and return the JSON of its answer; ServerError if it fails."""
        return _decoded(self._once(method, path, body), path)

    def _once(self, method: str, path: str, body: Any) -> bytes:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get(KEY, "").strip():
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(self.url + path, data=data, headers=headers, method=method)
        try:
            with self._opener().open(request, timeout=self.timeout) as answer:
                text: bytes = answer.read()
        except urllib.error.HTTPError as error:
            raise _refused(error, path) from None
        except (OSError, http.client.HTTPException) as error:
            raise _broken(error, self.timeout) from None
        return text

    def persist(self, act: Callable[[], T]) -> T:
        """Return what `act` returns; where it fails with what may pass, wait and call it again.

        UserError: it failed for good, or for longer than the user is patient.
        """
        began, failures, broken = time.monotonic(), 0, 0
        while True:
            try:
                return act()
            except ServerError as error:
                waited = time.monotonic() - began
                failures, broken = failures + 1, broken + 1 if error.status == 500 else 0
                if not error.passing:
                    raise
                if waited >= self.patience or broken >= TRIES:
                    raise self.gave_up(f"{failures} tries in {waited:,.0f} s failed, the last one: {error}") from None
                self._say_once("failed", f"{error}; tried again, for at most {self.patience:,.0f} s")
                self._wait(failures, error.pause)

    def gave_up(self, why: str) -> UserError:
        """The error that ends a run, which the same command continues."""
        return UserError(
            f"sampler: vLLM at {self.name}: {why}. The run can go on: once the server is mended, the same command "
            "continues it from its last saved step"
        )

    def in_parallel(self, work: Callable[[int], T], count: int, threads: int) -> list[T]:
        """Return `work(i)` for i below `count`, in order; the first exception ends all threads and is raised."""
        self._stop = stop = threading.Event()
        results: list[Any] = [None] * count
        left, ended = deque(range(count)), SimpleQueue[BaseException | None]()

        def run() -> None:
            try:
                while left and not stop.is_set():
                    try:
                        i = left.popleft()
                    except IndexError:
                        break
                    results[i] = work(i)
            except BaseException as error:
                ended.put(error)
            else:
                ended.put(None)

        try:
            for _ in range(min(threads, count)):  # daemons: Ctrl-C does not wait for an answer
                threading.Thread(target=run, daemon=True).start()
            for _ in range(min(threads, count)):
                if (error := ended.get()) is not None:
                    raise error
        finally:
            stop.set()
            self._stop = threading.Event()
        return results

    def _opener(self) -> urllib.request.OpenerDirector:
        proxies = urllib.request.ProxyHandler({}) if is_this_machine(self.url) else urllib.request.ProxyHandler()
        return urllib.request.build_opener(proxies)

    def _wait(self, failures: int, pause: float | None) -> None:
        seconds = min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** (failures - 1)) * (0.5 + random.random() / 2)
        if self._stop.wait(min(max(seconds, pause or 0.0), 60.0)):
            raise ServerError("another request failed for good", passing=False)

    def _say_once(self, once: str, text: str) -> None:
        if once not in self._said:
            self._said.add(once)
            self.notice(f"sampler: vLLM at {self.name}: {text}")

    def answered(self) -> None:
        """Forget what was said, so that the next failure is said again."""
        self._said.clear()


def _refused(error: urllib.error.HTTPError, path: str) -> ServerError:
    """An answer with a status of failure."""
    try:
        text = error.read().decode("utf-8", "replace")
    except (OSError, http.client.HTTPException):
        text = ""
    said = f"HTTP {error.code} from {path.partition('?')[0]}: {excerpt(_message(text) or str(error.reason))}"
    if error.code in (401, 403):
        said += f" (set {KEY} to the key that the server was started with)"
    passing = error.code >= 500 or error.code in BUSY
    pause = retry_after(error.headers["Retry-After"], time.time())
    return ServerError(said, passing=passing, status=error.code, pause=pause)


def _message(text: str) -> str:
    """What an error's body says: vLLM nests it under `error`, FastAPI under `detail`."""
    try:
        body = json.loads(text)
        inner = body.get("error", body.get("detail", body))
        return str(inner.get("message", inner) if isinstance(inner, dict) else inner)
    except (ValueError, AttributeError, RecursionError):
        return text


def _broken(error: BaseException, timeout: float) -> ServerError:
    """A connection that failed, or was cut in the middle of an answer."""
    cause = getattr(error, "reason", error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return ServerError(f"its certificate is not trusted: {cause}", passing=False)
    if isinstance(cause, TimeoutError):
        return ServerError(f"no answer within {timeout:g} s", passing=True)
    if isinstance(cause, ConnectionRefusedError):
        return ServerError("nothing listens there (connection refused)", passing=True)
    if isinstance(cause, http.client.IncompleteRead):
        return ServerError(f"half an answer: {len(cause.partial):,} bytes, then the connection was cut", passing=True)
    return ServerError(f"the connection failed: {excerpt(str(cause) or type(cause).__name__)}", passing=True)


def _decoded(text: bytes, path: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        said = excerpt(text[:1000].decode("utf-8", "replace"))
        raise ServerError(f"half an answer from {path}, or none of vLLM's: {said!r}", passing=True) from None
