"""The process of one sink, `python -m overopt.integrations.follower`, whose task is the first line of stdin.

Its stdin closes when the run ends in any way; then it has a limited time to send what has been recorded.
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
    """The task of a sink process."""

    run: str
    sink: Sink
    grace: float
    """Seconds to send the rest once the run has ended."""


def task_line(run: Path, sink: Any, grace: float) -> bytes:
    """Encode a task as the line that `main` reads."""
    return json.dumps(dump(Task(run=str(run), sink=sink, grace=grace))).encode() + b"\n"


def main() -> int:
    """Follow a run. Returns the command line's exit codes; the last line of stderr says what went wrong."""
    os.nice(10)  # the run has priority
    task = load(Task, json.loads(_first_line()))

    def ended(seconds: float) -> bool:
        over = bool(select.select([sys.stdin], [], [], seconds)[0])
        if over:
            signal.setitimer(signal.ITIMER_REAL, task.grace)  # ends this process even if its parent is gone
        return over

    try:
        follow(Path(task.run), task.sink, ended)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _first_line() -> bytes:
    """Read the first line byte by byte: buffered input would be hidden from `select`."""
    line = b""
    while not line.endswith(b"\n") and (byte := os.read(0, 1)):
        line += byte
    return line


if __name__ == "__main__":
    sys.exit(main())
