"""Starts, watches and ends the sink processes of a run, one per sink; a failure of one does not affect the run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

from overopt.config import name_of
from overopt.integrations.follower import task_line

GRACE_SECONDS = 30.0
"""Time that all sinks together have to send the rest after the run has ended."""


@dataclass
class _SinkProcess:
    name: str
    process: subprocess.Popen[bytes]
    errors: IO[bytes]

    def last_words(self) -> str:
        """Return the last line that the process wrote to stderr."""
        self.errors.seek(0)
        lines = [line for line in self.errors.read().decode(errors="replace").splitlines() if line.strip()]
        return lines[-1].strip() if lines else f"exit status {self.process.returncode}"


class SinkProcesses:
    """The sink processes of one run. No method raises."""

    def __init__(self, run: Path, sinks: Sequence[Any], warn: Callable[[str], None]) -> None:
        self.run, self.warn = run, warn
        self._followers: list[_SinkProcess] = []
        for sink in sinks:
            self._start(sink)

    def warn_of_failures(self) -> None:
        """Warn once of each sink that ended before the run."""
        for follower in [each for each in self._followers if each.process.poll() is not None]:
            self._give_up(follower, follower.last_words())

    def close(self) -> None:
        """Give the sinks GRACE_SECONDS to send the rest, then kill them."""
        for follower in self._followers:
            with suppress(OSError):  # the process has ended already
                assert follower.process.stdin is not None
                follower.process.stdin.close()
        deadline = time.monotonic() + GRACE_SECONDS
        for follower in list(self._followers):
            try:
                status = follower.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                self._give_up(follower, f"not done {GRACE_SECONDS:g} s after the run")
                continue
            if status:
                self._give_up(follower, follower.last_words())
            else:
                follower.errors.close()
        self._followers.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _start(self, sink: Any) -> None:
        name = name_of(type(sink))
        try:
            errors = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the process; a pipe would fill up)
            process = subprocess.Popen(
                [sys.executable, "-m", "overopt.integrations.follower"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                start_new_session=True,  # Ctrl-C goes to the run only, which tells the sink of its end
            )
            assert process.stdin is not None
            self._followers.append(_SinkProcess(name, process, errors))
            process.stdin.write(task_line(self.run, sink, GRACE_SECONDS))
            process.stdin.flush()
        except (OSError, ValueError) as error:
            self.warn(f"sink {name} could not be started ({error}); the run goes on without it")

    def _give_up(self, follower: _SinkProcess, why: str) -> None:
        with suppress(OSError):
            os.killpg(follower.process.pid, signal.SIGKILL)  # with its children
        with suppress(subprocess.TimeoutExpired):
            follower.process.wait(1.0)
        follower.errors.close()
        self._followers.remove(follower)
        self.warn(
            f"sink {follower.name} failed ({why}); the run and its records are not affected: "
            f"overopt log {self.run} --sink {follower.name} sends them again"
        )
