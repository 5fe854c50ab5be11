"""A proxy on loopback that forwards chat completions to a server, and notes every request that passes."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from hashlib import sha256
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Passed:
    """A request: a hash of what was asked, and the server's status; None: the server sent no whole reply."""

    body: str
    status: int | None


@dataclass
class CountingProxy:
    """Where a server cannot be reached, or dies while it answers, the connection to the client is closed, too."""

    upstream: int
    """The server's port."""
    received: int = 0
    passed: list[Passed] = field(default_factory=list)
    """Requests that have been answered, or not, in that order."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> CountingProxy:
        self.server = _Server(("127.0.0.1", 0), _Handler)
        self.server.proxy = self
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/v1"

    def answered(self) -> list[str]:
        """What was asked in the requests that the server answered."""
        with self.lock:
            return [request.body for request in self.passed if request.status == 200]

    def asked(self) -> list[str]:
        with self.lock:
            return [request.body for request in self.passed]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    proxy: CountingProxy

    def handle_error(self, *_: Any) -> None:
        """A client that was killed is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        proxy = self.server.proxy
        length = int(self.headers["Content-Length"])
        body = self.rfile.read(length)
        if len(body) < length:  # the client died while it sent
            return
        with proxy.lock:
            proxy.received += 1
        connection = HTTPConnection("127.0.0.1", proxy.upstream, timeout=600)
        status = None
        try:
            connection.request("POST", self.path, body, {"Content-Type": "application/json"})
            reply = connection.getresponse()
            content, status = reply.read(), reply.status
        except (OSError, HTTPException):
            self.close_connection = True
        finally:
            connection.close()
            with proxy.lock:
                proxy.passed.append(Passed(sha256(body).hexdigest(), status))
        if status is not None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Nothing is printed."""
