"""Sinks that note what they are sent, raise, or hang."""

from __future__ import annotations

import json
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
class Exiting:
    """As one whose library ends its process."""

    def open(self, run: Any) -> _Noted:
        sys.exit(3)
