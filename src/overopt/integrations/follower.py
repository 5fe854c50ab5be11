"""The process of one sink: `python -m overopt.integrations.follower`, with its task as the first line of its input.

Its input ends when the run does, however it does; what has been recorded by then is sent, and that has its time, too.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
from pathlib import Path
from typing import Any

from overopt.config import block, dump, load
from overopt.errors import UserError
from overopt.integrations.replay import follow
from overopt.integrations.sinks import Sink


@block
class Task:
    """What a follower is told."""

    run: str
    sink: Sink
    grace: float
    """Seconds it has once the run has ended."""


def task_line(run: Path, sink: Any, grace: float) -> bytes:
    """The task as `main` reads it."""
    return json.dumps(dump(Task(run=str(run), sink=sink, grace=grace))).encode() + b"\n"


def main() -> int:
    """Follow a run. Exit codes as of the command line, the last line of stderr says what is wrong."""
    os.nice(10)  # the run comes first
    task = load(Task, json.loads(_first_line()))

    def ended(seconds: float) -> bool:
        over = bool(select.select([sys.stdin], [], [], seconds)[0])
        if over:
            signal.setitimer(signal.ITIMER_REAL, task.grace)  # whoever waited may be gone: then this ends it
        return over

    try:
        follow(Path(task.run), task.sink, ended)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _first_line() -> bytes:
    """Byte by byte: nothing behind it may be read, and kept, from what select looks at."""
    line = b""
    while not line.endswith(b"\n") and (byte := os.read(0, 1)):
        line += byte
    return line


if __name__ == "__main__":
    sys.exit(main())
