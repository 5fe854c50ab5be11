"""The command line. `--help` answers at once: nothing heavy is imported before a verb runs.

Exit codes: 0 done, 1 our fault (with a traceback), 2 the user's input (with a message), 130 interrupted, 141 nobody
reads what it prints, 143 terminated.
"""

from __future__ import annotations

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
    """Run a verb; the exit code."""
    streams.prepare()
    try:
        code = _run(list(sys.argv[1:] if arguments is None else arguments))
    except SystemExit:  # of the parser, which has printed help or usage
        if lost := streams.broken():
            return streams.give_up(lost)
        raise
    except OSError as error:
        return streams.give_up(streams.broken(after=error))
    lost = streams.broken()
    return streams.give_up(lost) if lost else code


def _run(arguments: list[str]) -> int:
    try:
        options = parse(arguments)
        with _termination_as_exit():
            return int(options.verb(options))
    except UserError as error:
        print(f"overopt: {error}", file=sys.stderr)
        return USERS_INPUT
    except KeyboardInterrupt:
        print("overopt: interrupted; the same command goes on from what is kept", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if isinstance(error, OSError) and streams.broken(after=error):
            raise  # nobody can be told
        traceback.print_exc()
        print("overopt: this is a fault of overopt, not of your input", file=sys.stderr)
        return OUR_FAULT


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
