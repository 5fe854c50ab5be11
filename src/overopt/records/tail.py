"""A line file that is being written, read as it grows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from overopt.errors import UserError


class Tail:
    """Gives each whole line once; a last one that is still being written comes with the next call."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._read = 0

    def rows(self) -> list[dict[str, Any]]:
        """The rows that have been added since the last call; none while there is no file."""
        try:
            with self.file.open("rb") as content:
                content.seek(self._read)
                added = content.read()
        except FileNotFoundError:
            return []
        whole = added[: added.rfind(b"\n") + 1]
        self._read += len(whole)
        return [self._row(line) for line in whole.splitlines()]

    def _row(self, line: bytes) -> dict[str, Any]:
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(f"{self.file}: holds a line that is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise UserError(f"{self.file}: holds a line that is not a JSON object")
        return row
