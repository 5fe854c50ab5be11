"""The standard streams: closed, of an encoding that cannot spell the text, full, or with a reader that has gone."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterator
from io import UnsupportedOperation
from typing import TextIO

READER_GONE = 141
"""Exit code where nobody reads the output any more (`overopt objectives | head -1`), as shells report SIGPIPE."""

Broken = list[tuple[TextIO, OSError]]


def prepare() -> None:
    """Open closed streams, and have characters that an encoding lacks escaped."""
    _open_closed()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a console of cp1252 or ASCII prints escapes


def _open_closed() -> None:
    """Point each closed stream (`>&-`) at the null device; else the next file opened would get its number."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    sys.stdout = sys.stdout or _nowhere()  # None where it was closed
    sys.stderr = sys.stderr or _nowhere()


def _nowhere() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")


def broken(after: BaseException | None = None) -> Broken:
    """The streams that cannot be written to any more, each with the reason; `after` is what was raised before.

    A stream whose write failed may have dropped what it held and flush well: then its pipe is asked for its reader, and
    of a file an empty line is written. Nothing is written to pipes and terminals, which may be in order.
    """
    found: Broken = []
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
            if lost_pipe(after) and _reader_is_gone(stream):
                raise BrokenPipeError
            if isinstance(after, OSError) and not isinstance(after, BrokenPipeError) and not stream.isatty():
                os.write(stream.fileno(), b"\n")
        except UnsupportedOperation:
            pass  # not a file
        except OSError as error:
            found.append((stream, error))
    return found


def lost_pipe(error: BaseException | None) -> bool:
    """Whether a broken pipe is among the causes of an exception; rich leaves with SystemExit(1) where it meets one."""
    return any(isinstance(cause, BrokenPipeError) for cause in _causes(error))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _reader_is_gone(stream: TextIO) -> bool:
    poll = select.poll()
    poll.register(stream.fileno(), 0)  # errors are reported whatever is asked for
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def give_up(streams: Broken) -> int:
    """Discard what broken streams still hold, which Python would try to write at exit; return the exit code."""
    for stream, _ in streams:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    reasons = [error.strerror for _, error in streams if not isinstance(error, BrokenPipeError)]
    if not reasons:
        return READER_GONE
    print(f"overopt: what it prints cannot be written ({reasons[0]}); its records are kept", file=sys.stderr)
    return 2
