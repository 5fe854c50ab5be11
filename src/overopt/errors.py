"""Errors that the user can correct. Anything else that is raised is a bug of overopt."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import suppress


def say(text: str) -> None:
    """Print a notice to stderr: the default where a caller passes no `notice` of its own."""
    with suppress(OSError):  # nobody reads it any more: no reason to end a run
        print(f"overopt: {text}", file=sys.stderr, flush=True)


class UserError(Exception):
    """Bad input: the message says what is wrong, where, and what to do. The command line prints it and exits with 2."""


class BusyError(UserError):
    """Another process is at work in a run directory or a study's folder."""


class ConfigError(UserError):
    """All errors of a configuration."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))

    def __reduce__(self) -> tuple[type, tuple[list[str]]]:  # pickle would call the class with the joined text
        return type(self), (self.problems,)


class StoppedError(Exception):
    """Leaves a stage's loop because a condition of `stop_when` is met at `step`; not an error."""

    def __init__(self, step: int, condition: str, reason: str, go_back_to: int) -> None:
        self.step, self.condition, self.reason, self.go_back_to = step, condition, reason, go_back_to
        super().__init__(f"{condition} at step {step}: {reason}")

    def __reduce__(self) -> tuple[type, tuple[int, str, str, int]]:
        return type(self), (self.step, self.condition, self.reason, self.go_back_to)


class DivergedError(UserError):
    """The loss or a gradient became NaN or infinite at `step`; the run has kept its last checkpoint."""

    def __init__(self, step: int, what: str) -> None:
        self.step, self.what = step, what
        super().__init__(f"{what} at step {step}")

    def __reduce__(self) -> tuple[type, tuple[int, str]]:
        return type(self), (self.step, self.what)
