"""An OpenAI-compatible API on this machine that fails in every way a real one does, and counts what it is asked."""

from __future__ import annotations

import email.utils
import json
import socket
import ssl
import struct
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

FAULTS = (
    "429", "429 for a second", "429 until a date", "500", "503", "no reply", "reset", "closed", "truncated",
    "truncated JSON", "HTML", "no choices at all", "the key in an error",
)  # fmt: skip
"""What happens in place of a reply."""
UNUSUAL = ("with the key", "of another format", "empty", "of no choice", "refusal")
"""Kinds of replies beside ordinary ones. Which one a text gets depends on the text alone, as at temperature 0."""


class FaultyAPI:
    """Serves until its `with` block ends.

    `fault(text, time)` names what goes wrong when a text is asked the n-th time (from 1), or None.
    """

    def __init__(
        self,
        fault: Callable[[str, int], str | None] = lambda text, time: None,
        key: str = "",
        stall: float = 3.0,
        delay: float = 0.002,
        certificate: Path | None = None,
        reply: Callable[[str, str], list[dict[str, Any]]] | None = None,
    ) -> None:
        self.reply = reply or reply_to
        self.fault, self.key, self.stall, self.delay = fault, key, stall, delay
        self.lock = threading.Lock()
        self.asked: Counter[str] = Counter()
        """Requests for each text."""
        self.answered: Counter[str] = Counter()
        """Those that were answered whole."""
        self.faults: Counter[str] = Counter()
        self.wrong: list[str] = []
        """What a request should have been and was not."""
        self.settled: set[str] = set()
        """Texts that nobody has a reason to ask again."""
        self.under_way = self.most_under_way = 0
        self.gone = False
        self.server = _Server(("127.0.0.1", 0), _Handler)
        self.server.api = self
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        scheme = "http" if certificate is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self.server.server_address[1]}/v1"

    def __enter__(self) -> FaultyAPI:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.gone = True  # for connections that stay open
        self.server.shutdown()
        self.server.server_close()

    @contextmanager
    def counted(self) -> Iterator[None]:
        with self.lock:
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            yield
        finally:
            with self.lock:
                self.under_way -= 1


def kind_of(text: str) -> str:
    """One text in 24 has a reply of each unusual kind."""
    draw = zlib.crc32(text.encode()) % 24
    return UNUSUAL[draw] if draw < len(UNUSUAL) else "preferred"


def usage_of(text: str) -> tuple[int, int]:
    """Tokens in and out."""
    return len(text) // 4, 5 + zlib.crc32(text.encode()) % 20


def reply_to(text: str, key: str) -> list[dict[str, Any]]:
    """The choices of a reply to a text."""
    letter = "AB"[zlib.crc32(text[::-1].encode()) % 2]
    said: str | None = f"Comparison: one of them is better.\nPreferred: {letter}"
    match kind_of(text):
        case "with the key":
            said = f"You sent Authorization: Bearer {key}, and {key}!\nPreferred: {letter}"
        case "of another format":
            said = "\x1b[31mBoth A and B have <b>merits</b>; la segunda es mejor."
        case "empty":
            said = None
        case "refusal":
            return [{"index": 0, "message": {"role": "assistant", "content": None, "refusal": "No."}}]
        case "of no choice":
            return []
    return [{"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    api: FaultyAPI

    def handle_error(self, request: Any, address: Any) -> None:
        error = sys.exception()
        if not isinstance(error, OSError):  # clients that are killed break their connections
            self.api.wrong.append(repr(error))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def api(self) -> FaultyAPI:
        return self.server.api  # type: ignore[attr-defined, no-any-return]

    def do_POST(self) -> None:
        if self.api.gone:
            self.fail("reset")
            return
        length = int(self.headers["Content-Length"])
        content = self.rfile.read(length)
        if len(content) < length:  # the client was killed while it sent this
            self.close_connection = True
            return
        body = json.loads(content)
        text = body["messages"][-1]["content"]
        with self.api.counted():
            with self.api.lock:
                self.api.asked[text] += 1
                times = self.api.asked[text]
                if text in self.api.settled:
                    self.api.wrong.append(f"asked again: {text[:80]}")
                if self.headers["Authorization"] != f"Bearer {self.api.key}":
                    self.api.wrong.append("the key is not the user's")
                if self.path != "/v1/chat/completions" or body["temperature"] != 0 or body["max_tokens"] < 1:
                    self.api.wrong.append(f"{self.path} {body}")
            time.sleep(self.api.delay)
            fault = self.api.fault(text, times)
            if fault is not None:
                with self.api.lock:
                    self.api.faults[fault] += 1
                self.fail(fault)
                return
            counts = dict(zip(("prompt_tokens", "completion_tokens"), usage_of(text), strict=True))
            choices = self.api.reply(text, self.api.key)
            reply = {"id": "1", "object": "chat.completion", "choices": choices, "usage": counts}
            with self.api.lock:
                self.api.answered[text] += 1
            self.answer(200, json.dumps(reply).encode())

    def fail(self, fault: str) -> None:
        match fault:
            case "429" | "500" | "503":
                self.answer(int(fault), json.dumps({"error": {"message": f"{fault}, try later"}}).encode())
            case "429 for a second":
                self.answer(429, b"{}", {"Retry-After": "1"})
            case "429 until a date":
                self.answer(429, b"{}", {"Retry-After": email.utils.formatdate(time.time() + 1, usegmt=True)})
            case "no reply":
                time.sleep(self.api.stall)
                self.close_connection = True
            case "reset":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True
                self.connection.close()
            case "closed":
                self.close_connection = True
            case "truncated":
                self.answer(200, b'{"choices": [{"mess', {"Content-Length": "1000"})
                self.close_connection = True
            case "truncated JSON":
                self.answer(200, b'{"choices": [{"message": {"content": "Preferred: A')
            case "HTML":
                self.answer(200, b"<html>maintenance</html>", {"Content-Type": "text/html"})
            case "no choices at all":
                self.answer(200, b'{"error": {"message": "overloaded"}}')
            case "the key in an error":
                said = f"bad gateway; headers: {dict(self.headers)}; key {self.api.key}"
                self.answer(502, json.dumps({"error": {"message": said}}).encode())
            case status if status.isdigit():
                said = f"Incorrect API key provided: {self.api.key}, or {self.api.key[:7]}****{self.api.key[-4:]}."
                self.answer(int(status), json.dumps({"error": {"message": said, "code": None}}).encode())
            case _:
                raise ValueError(fault)

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass
