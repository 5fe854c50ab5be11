"""Serves the page over HTTP on this machine only and remakes it at every visit, so that runs can be followed."""

from __future__ import annotations

from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from overopt.errors import UserError

HOST = "127.0.0.1"


def serve(make_page: Callable[[], str], say: Callable[[str], None]) -> None:
    """Serve on a free port until Ctrl-C."""
    with make_server(make_page) as server:
        say(f"http://{HOST}:{server.server_address[1]}/ (Ctrl-C ends it; reload to see what is new)")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            say("ended")


def make_server(make_page: Callable[[], str]) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.partition("?")[0] != "/":
                self.send_error(404)
                return
            try:
                status, kind, text = 200, "text/html", make_page()
            except UserError as error:  # the runs may have gone meanwhile
                status, kind, text = 500, "text/plain", f"overopt: {error}"
            content = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing: there is one visitor."""

    return ThreadingHTTPServer((HOST, 0), Handler)
