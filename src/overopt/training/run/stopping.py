"""What ends a run before its last step: numbers that are not finite, conditions of `stop_when`, Ctrl-C and SIGTERM."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Self

from overopt.errors import DivergedError, StoppedError
from overopt.models.body import Body
from overopt.stopping import HistoryReader, decide

TERMINATED = 143
"""Exit status of a process that SIGTERM ended; Ctrl-C raises KeyboardInterrupt, which the command line makes 130."""


@dataclass
class Interrupts:
    """Listens for Ctrl-C and SIGTERM while the `with` block lasts; only a main thread hears signals.

    The first one asks the run to stop after the step at hand; a second one leaves at once, as does the first where no
    step is being made and there is nothing to keep.
    """

    waiting: bool = False
    """Whether steps are being made, at whose end somebody looks whether to stop."""
    heard: int | None = None
    _before: dict[int, Any] = field(default_factory=dict)

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
                    self._before[number] = signal.signal(number, self._hear)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        first, self.heard = self.heard is None, number
        if not (first and self.waiting):
            self.leave()
        if number == signal.SIGINT:  # written past every stream: what was being printed cannot be printed into
            os.write(2, b"\nstopping after this step; Ctrl-C again leaves at once\n")

    def leave(self) -> None:
        """Raise KeyboardInterrupt after Ctrl-C, or exit after SIGTERM, if one was heard."""
        if self.heard == signal.SIGINT:
            raise KeyboardInterrupt
        if self.heard is not None:
            sys.exit(TERMINATED)


class StopConditions:
    """Checks the conditions of `stop_when` on what a run has recorded so far."""

    def __init__(self, conditions: Sequence[Any], run: Path) -> None:
        self.conditions, self.history = conditions, HistoryReader(run)

    def check(self, step: int) -> None:
        """Raise StoppedError if one of them is met after this step."""
        if not self.conditions:
            return
        stop = decide(self.conditions, self.history.read())
        if stop is not None:
            raise StoppedError(step, stop.condition, stop.reason, stop.go_back_to)


def check_metrics(step: int, metrics: Mapping[str, float]) -> None:
    """Raise DivergedError if the loss, its gradient or the policy's last move is not finite."""
    for name in ("loss", "grad_norm", "kl_prev"):
        if name in metrics and not abs(metrics[name]) < float("inf"):
            raise DivergedError(step, f"{name} is {metrics[name]}")


def check_weights(model: Body, step: int) -> None:
    """Raise DivergedError if a weight is not finite."""
    if not all(bool(p.isfinite().all()) for p in model.parameters()):
        raise DivergedError(step, "a weight is not finite")
