"""The command line. `--help` answers at once: nothing heavy is imported before a verb runs.

Exit codes: 0 done, 1 a fault of overopt (with a traceback), 2 bad input (with a message), 130 interrupted, 141 the
reader of the output has gone, 143 terminated.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from overopt.cli import streams
from overopt.cli.parser import parse
from overopt.cli.verbs import INTERRUPTED, OUR_FAULT, TERMINATED, USERS_INPUT
from overopt.errors import UserError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb and return the exit code."""
    streams.prepare()
    try:
        code = _run(list(sys.argv[1:] if arguments is None else arguments))
    except SystemExit as leaving:  # of the parser after help or usage, of SIGTERM, or of rich where a pipe is broken
        if lost := streams.broken():
            return streams.give_up(lost)
        if streams.lost_pipe(leaving):
            return streams.READER_GONE
        raise
    except OSError as error:  # of printing an error
        return streams.give_up(streams.broken(after=error))
    lost = streams.broken()
    return streams.give_up(lost) if lost else code


def _run(arguments: list[str]) -> int:
    try:
        options = parse(arguments)
        if _processes() > 1 and options.verb.__name__ in ("demo", "study", "sweep"):
            raise UserError("torchrun starts several processes, and only `overopt train` divides its work among them")
        with _termination_as_exit():
            return int(options.verb(options))
    except KeyboardInterrupt:
        print("overopt: interrupted; give the same command again to continue", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if lost := streams.broken(after=error):
            return streams.give_up(lost)
        if isinstance(error, UserError):
            print(f"overopt: {_process()}{error}", file=sys.stderr)
            return USERS_INPUT
        traceback.print_exc()
        print("overopt: this is a fault of overopt, not of your input", file=sys.stderr)
        return OUR_FAULT


def _process() -> str:
    """Which of the processes that torchrun started this is, for messages of all but the first."""
    number = os.environ.get("RANK", "0")
    return f"process {number} of {_processes()}: " if _processes() > 1 and number != "0" else ""


def _processes() -> int:
    """How many processes torchrun started."""
    count = os.environ.get("WORLD_SIZE", "")
    return int(count) if count.isdecimal() else 1


@contextmanager
def _termination_as_exit() -> Iterator[None]:
    """SIGTERM unwinds like Ctrl-C, so that worker processes are stopped too."""

    def leave(number: int, frame: FrameType | None) -> None:
        sys.exit(TERMINATED)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
