"""The line files of a run (`metrics.jsonl` and others), read whole or as they grow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from overopt.errors import UserError
from overopt.records.validation import parse_numbers


class Tail:
    """Yields each whole line once. A last line without its end is still being written, or was cut by a kill."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._bytes = self._lines = 0

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows that have been added since the last call; none while there is no file."""
        try:
            with self.file.open("rb") as content:
                content.seek(self._bytes)
                for line in content:
                    if not line.endswith(b"\n"):
                        return
                    self._bytes += len(line)
                    self._lines += 1
                    yield parse_numbers(line, f"{self.file}:{self._lines}")
        except FileNotFoundError:
            return
        except OSError as error:
            raise UserError(f"{self.file}: cannot be read: {error.strerror or error}") from error
