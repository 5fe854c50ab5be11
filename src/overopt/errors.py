"""Errors that are the user's to mend. Anything else that is raised is a fault of ours."""

from __future__ import annotations

import sys
from collections.abc import Iterable


def say(text: str) -> None:
    """What the user should know though nothing is wrong, where no caller takes notices."""
    print(f"overopt: {text}", file=sys.stderr)


class UserError(Exception):
    """Bad input, in the user's terms: what, where, what to do. The command line prints it and exits with 2."""


class ConfigError(UserError):
    """One or more errors of a configuration, all of them listed."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))


class StoppedError(Exception):
    """A condition of `stop_when` is met at `step`: no error, but the way out of a stage's loop."""

    def __init__(self, step: int, condition: str, reason: str, go_back_to: int) -> None:
        self.step, self.condition, self.reason, self.go_back_to = step, condition, reason, go_back_to
        super().__init__(f"{condition} at step {step}: {reason}")


class DivergedError(UserError):
    """The loss or a gradient became NaN or infinite; the run stopped at `step` and kept its last checkpoint."""

    def __init__(self, step: int, what: str) -> None:
        self.step = step
        super().__init__(f"{what} at step {step}")
