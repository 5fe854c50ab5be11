"""Ctrl-C and SIGTERM: the first asks a run to stop after the step at hand, a second one leaves at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from dataclasses import dataclass, field
from types import FrameType, TracebackType
from typing import Any, Self

TERMINATED = 143
"""Exit status of a process that SIGTERM ended; Ctrl-C raises KeyboardInterrupt, which the command line makes 130."""


@dataclass
class Interrupts:
    """Listens while the `with` block lasts; only a main thread hears signals.

    A signal outside the steps, where there is nothing to keep, leaves at once too.
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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        first, self.heard = self.heard is None, number
        if not (first and self.waiting):
            self.leave()
        if number == signal.SIGINT:  # written past every stream: what was being printed cannot be printed into
            os.write(2, b"\nstopping after this step; Ctrl-C again leaves at once\n")

    def leave(self) -> None:
        """Raise what the signal that was heard stands for."""
        if self.heard == signal.SIGINT:
            raise KeyboardInterrupt
        if self.heard is not None:
            sys.exit(TERMINATED)
