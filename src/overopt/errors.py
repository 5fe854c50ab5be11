"""Errors that are the user's to mend. Anything else that is raised is a fault of ours."""

from __future__ import annotations

from collections.abc import Iterable


class UserError(Exception):
    """Bad input, in the user's terms: what, where, what to do. The command line prints it and exits with 2."""


class ConfigError(UserError):
    """One or more errors of a configuration, all of them listed."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))


class DivergedError(UserError):
    """The loss or a gradient became NaN or infinite; the run stopped at `step` and kept its last checkpoint."""

    def __init__(self, step: int, what: str) -> None:
        self.step = step
        super().__init__(f"{what} at step {step}")
