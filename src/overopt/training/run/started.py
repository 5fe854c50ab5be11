"""A run whose directory exists: the loop tells it what each step measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from overopt.engine import ranks
from overopt.engine.memory import TokenBudget
from overopt.evaluation.evaluator import Evaluator
from overopt.integrations.sink_processes import SinkProcesses
from overopt.models.policy import Policy
from overopt.records import RunWriter
from overopt.training.run.checkpointing import Checkpointer
from overopt.training.run.progress import Progress
from overopt.training.run.stopping import Interrupts, StopConditions, check_metrics, check_weights

SHOWN = ("loss", "score_mean", "gold_mean", "kl_ref", "rewards_acc", "win_rate")
"""Metrics that a status line may show."""


@dataclass
class StartedRun:
    """Records steps, evaluations and checkpoints. Made by `Session.start`, which also records how the run ends."""

    out: Path
    stage: str
    steps: int
    done: int
    """Steps made before this process."""
    resumed: bool
    """Whether this process continues an earlier one; the evaluation of step 0 is then recorded already."""
    began: float
    """The time of `time.monotonic()` at which a run without interruptions would have begun."""
    budget: TokenBudget
    writer: RunWriter
    checkpointer: Checkpointer
    conditions: StopConditions
    interrupts: Interrupts
    sinks: SinkProcesses
    tell: Callable[[Progress], None] | None
    notice: Callable[[str], None]
    quality: float | None = None
    """What `keep: best` compares, of the evaluation just made."""

    def steps_left(self) -> range:
        """The steps to make, counted from 1."""
        self._stop_if_met(self.done)  # killed between the last state and the stop
        return range(self.done + 1, self.steps + 1)

    def log(self, step: int, metrics: Mapping[str, float], tokens: int) -> None:
        """Record one step, and raise DivergedError if its loss or gradient is broken."""
        ranks.on_main(partial(self._write, step, metrics, tokens))
        check_metrics(step, metrics)
        self.sinks.warn_of_failures()
        if self.tell is not None:
            shown = {name: metrics[name] for name in SHOWN if name in metrics}
            self.tell(Progress(self.stage, step, self.steps, shown))

    def _write(self, step: int, metrics: Mapping[str, float], tokens: int) -> None:
        self.writer.log(step, metrics)
        self.writer.log_timings(step, {"elapsed": self._elapsed(), "tokens": tokens})

    def evaluate(self, evaluator: Evaluator, policy: Policy, step: int) -> None:
        """Evaluate the policy, and record the row and the samples."""
        check_weights(policy, step)
        row, samples = self.budget.without_gradient(partial(evaluator.evaluate, policy, step))
        ranks.on_main(partial(self.writer.write_samples, step, samples))
        self.record(row, row.get("win_rate"))

    def record(self, row: Mapping[str, Any], quality: float | None) -> None:
        """Add a row to the run's evaluations; the first quality of a step is what `keep: best` compares."""
        ranks.on_main(partial(self.writer.log_evaluation, row))
        if self.quality is None:
            self.quality = quality

    def keep(self, step: int) -> None:
        """Save what is due after a step and its evaluation, and stop if that was asked for."""
        interrupted = self._interrupted()
        if interrupted or self.checkpointer.due(step):
            self.checkpointer.save(step, self.quality, self._elapsed())
        self.quality = None
        self._stop_if_met(step)
        if interrupted and step < self.steps:
            self.writer.update(status="interrupted")
            self.notice(f"{self.out}: stopped after step {step}; the same command goes on from there")
            self.interrupts.leave()

    def _interrupted(self) -> bool:
        """Whether a process was asked to stop; then all of them know."""
        heard = [signal for signal in ranks.gather(self.interrupts.heard) if signal is not None]
        if heard:
            self.interrupts.heard = heard[0]
        return bool(heard)

    def _stop_if_met(self, step: int) -> None:
        """Raise StoppedError if a condition of `stop_when` holds for what is recorded; not at the last step."""
        if 0 < step < self.steps:
            ranks.on_main(partial(self.conditions.check, step))

    def _elapsed(self) -> float:
        return time.monotonic() - self.began
