"""Sinks that note what they are sent, raise, or hang."""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from overopt.config import block


@block
class Noting:
    """Appends everything to a file."""

    file: str

    def open(self, run: Any) -> _Noted:
        return _Noted(Path(self.file))


class _Noted:
    def __init__(self, file: Path) -> None:
        self.file = file

    def send(self, step: int, values: Mapping[str, float]) -> None:
        self._note([step, dict(values)])

    def close(self, status: str) -> None:
        self._note(status)

    def _note(self, what: Any) -> None:
        with self.file.open("a") as file:
            print(json.dumps(what), file=file)


@block
class Raising:
    """As one whose network is gone."""

    def open(self, run: Any) -> _Noted:
        raise ConnectionError("the network is unreachable")


@block
class Hanging:
    """As one that waits for an answer, and does not even end when asked to."""

    def open(self, run: Any) -> _Noted:
        while True:
            time.sleep(60)


@block
class Networked:
    """Sends each row over a connection, and waits for an answer to each."""

    port: int

    def open(self, run: Any) -> _Connected:
        return _Connected(socket.create_connection(("127.0.0.1", self.port)))


class _Connected:
    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection

    def send(self, step: int, values: Mapping[str, float]) -> None:
        self.connection.sendall(f"{step}\n".encode())
        if not self.connection.recv(1):
            raise ConnectionError("the connection was closed")

    def close(self, status: str) -> None:
        self.connection.close()


@block
class Exiting:
    """As one whose library ends its process."""

    def open(self, run: Any) -> _Noted:
        sys.exit(3)
