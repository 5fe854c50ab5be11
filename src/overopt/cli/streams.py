"""Standard streams as they come: closed, of another encoding than the text, full, or with a reader that has gone."""

from __future__ import annotations

import os
import sys
from io import UnsupportedOperation
from typing import TextIO

GONE = 141
"""Exit code where a reader has gone (`overopt objectives | head -1`): what a shell says of a tool that met SIGPIPE."""

Broken = list[tuple[TextIO, OSError]]


def prepare() -> None:
    """Make whatever is printed printable."""
    _open_closed()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a console of cp1252 or ASCII gets escapes, not an end


def _open_closed() -> None:
    """Give each closed stream (`>&-`) an end; else the next file that is opened, a record, would be taken for it."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    sys.stdout = sys.stdout or _nowhere()  # Python has none where it was closed
    sys.stderr = sys.stderr or _nowhere()


def _nowhere() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")


def broken(after: OSError | None = None) -> Broken:
    """The streams that take nothing any more, with the reason.

    One that raised `after` has let go of what it held, so an empty line tells whether it takes anything.
    """
    found: Broken = []
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
            if after is not None:
                os.write(stream.fileno(), b"\n")
        except UnsupportedOperation:
            pass  # no file
        except OSError as error:
            found.append((stream, error))
    return found


def give_up(streams: Broken) -> int:
    """Throw away what broken streams still hold, which Python would try again on its way out; the exit code."""
    for stream, _ in streams:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    reasons = [error.strerror for _, error in streams if not isinstance(error, BrokenPipeError)]
    if not reasons:
        return GONE
    print(f"overopt: what it prints cannot be written ({reasons[0]}); its records are kept", file=sys.stderr)
    return 2
