"""The page over HTTP: made anew at every visit, on this machine alone."""

from __future__ import annotations

from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from threading import Thread

import pytest

from overopt.analysis.report import serve as serving
from overopt.analysis.report.serve import HOST, make_server, serve
from overopt.errors import UserError


class Pages:
    def __init__(self) -> None:
        self.visits = 0

    def __call__(self) -> str:
        self.visits += 1
        if self.visits == 3:
            raise UserError("no run to report on")
        return f"<p>visit {self.visits} ✓"


@pytest.fixture
def address() -> Iterator[tuple[str, int]]:
    server = make_server(Pages())
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield HOST, server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


def get(address: tuple[str, int], path: str = "/") -> tuple[HTTPResponse, str]:
    connection = HTTPConnection(*address, timeout=5)
    connection.request("GET", path)
    response = connection.getresponse()
    return response, response.read().decode()


def test_every_visit_makes_the_page_anew(address: tuple[str, int]) -> None:
    assert address[0] == "127.0.0.1"
    response, text = get(address)
    assert (response.status, text) == (200, "<p>visit 1 ✓")
    assert response.getheader("Content-Type") == "text/html; charset=utf-8"
    assert response.getheader("Cache-Control") == "no-store"
    assert get(address, "/?again")[1] == "<p>visit 2 ✓"
    gone, message = get(address)
    assert (gone.status, message) == (500, "overopt: no run to report on")
    assert gone.getheader("Content-Type") == "text/plain; charset=utf-8"


def test_nothing_else_is_served(address: tuple[str, int]) -> None:
    assert get(address, "/../etc/passwd")[0].status == 404


def test_it_says_where_it_is_and_ends_at_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(self: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(serving.ThreadingHTTPServer, "serve_forever", interrupt)
    said: list[str] = []
    serve(lambda: "", said.append)
    assert said[0].startswith("http://127.0.0.1:")
    assert said[1] == "ended"
