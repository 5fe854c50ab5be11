"""Sinks beside a run that is being made: a process each, which can fail without the run noticing more than that."""

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
"""What sinks have, all together, to send the rest after the run has ended."""


@dataclass
class _Follower:
    name: str
    process: subprocess.Popen[bytes]
    errors: IO[bytes]

    def last_words(self) -> str:
        """The last line it wrote to stderr."""
        self.errors.seek(0)
        lines = [line for line in self.errors.read().decode(errors="replace").splitlines() if line.strip()]
        return lines[-1].strip() if lines else f"exit status {self.process.returncode}"


class SinkProcesses:
    """The sinks of one run. None of its methods raises."""

    def __init__(
        self, run: Path, sinks: Sequence[Any], warn: Callable[[str], None], grace: float | None = None
    ) -> None:
        self.run, self.warn, self.grace = run, warn, GRACE_SECONDS if grace is None else grace
        self._followers: list[_Follower] = []
        for sink in sinks:
            self._start(sink)

    def warn_of_failures(self) -> None:
        """Warn, once, of sinks that have ended before the run."""
        for follower in [each for each in self._followers if each.process.poll() is not None]:
            self._give_up(follower, follower.last_words())

    def close(self) -> None:
        """The run has ended: let them send the rest, for so long; then end them."""
        for follower in self._followers:
            with suppress(OSError):  # it is gone already
                assert follower.process.stdin is not None
                follower.process.stdin.close()
        deadline = time.monotonic() + self.grace
        for follower in list(self._followers):
            try:
                status = follower.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                self._give_up(follower, f"not done {self.grace:g} s after the run")
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
            errors = tempfile.TemporaryFile()  # noqa: SIM115 (lives with the process; no pipe, which nobody would empty)
            process = subprocess.Popen(
                [sys.executable, "-m", "overopt.integrations.follower"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                start_new_session=True,  # Ctrl-C is for the run, whose end the sink is told
            )
            assert process.stdin is not None
            self._followers.append(_Follower(name, process, errors))
            process.stdin.write(task_line(self.run, sink, self.grace))
            process.stdin.flush()
        except (OSError, ValueError) as error:
            self.warn(f"sink {name} could not be started ({error}); the run goes on without it")

    def _give_up(self, follower: _Follower, why: str) -> None:
        with suppress(OSError):
            os.killpg(follower.process.pid, signal.SIGKILL)  # with whatever it has started
        with suppress(subprocess.TimeoutExpired):
            follower.process.wait(1.0)
        follower.errors.close()
        self._followers.remove(follower)
        self.warn(
            f"sink {follower.name} failed ({why}); the run and its records are not affected: "
            f"overopt log {self.run} --sink {follower.name} sends them again"
        )
