"""A line file that is being written, read as it grows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from overopt.errors import UserError
from overopt.records.validation import parse_numbers


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
        except OSError as error:
            raise UserError(f"{self.file}: cannot be read: {error.strerror or error}") from error
        whole = added[: added.rfind(b"\n") + 1]
        self._read += len(whole)
        return [parse_numbers(line, str(self.file)) for line in whole.splitlines()]
