"""The facts of a run that are known before anything of it is written, so that bad input leaves nothing behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch

from overopt.config import to_yaml
from overopt.engine import native, ranks
from overopt.engine.memory import TokenBudget
from overopt.errors import DivergedError, StoppedError, UserError
from overopt.integrations.sink_processes import SinkProcesses
from overopt.models.body import Body
from overopt.models.trainable import Full, TrainableProtocol
from overopt.pinning import Pins, at_commit, pinned, resolve
from overopt.records import Run, RunLock, RunWriter, clear_run, describe_dropped, load_run
from overopt.records.layout import INFO, PAIRS
from overopt.records.states import SavedState
from overopt.training.data import Limits, random_stream
from overopt.training.run.bystander import Bystander
from overopt.training.run.checkpointing import Checkpointer
from overopt.training.run.memory import fit_budget
from overopt.training.run.parents import Parents
from overopt.training.run.progress import Progress
from overopt.training.run.sources import check_data, source_hashes, state_to_continue
from overopt.training.run.started import StartedRun
from overopt.training.run.stopping import Interrupts, StopConditions
from overopt.training.run.trainer_state import TrainerState
from overopt.types import Dropped


@dataclass
class Session:
    """One process's work on one run: `start` makes the run directory, or goes on with the run that it holds."""

    config: Any
    """The stage's configuration, which is saved with the run."""
    out: Path
    tell: Callable[[Progress], None] | None = None
    notice: Callable[[str], None] = lambda text: None
    unfinished: bool = False
    """Whether `out` holds this run, cut short: it goes on once everything is at hand."""
    interrupts: Interrupts = field(default_factory=Interrupts)
    sinks: Sequence[Any] = ()
    data: dict[str, Dropped] = field(default_factory=dict)
    device: torch.device = field(init=False)
    lock: RunLock = field(init=False)
    budget: TokenBudget = field(init=False)
    parents: Parents = field(init=False)
    cpu_began: float = field(default_factory=time.process_time)
    pins: Pins = field(default_factory=dict)
    pinned: Any = field(init=False)
    """The configuration with every name on the Hub at its commit."""

    def __post_init__(self) -> None:
        compute = self.config.compute
        self.device, self.lock, self.budget = compute.resolve(), RunLock(self.out), TokenBudget(compute.budget)
        limits = Limits(self.config.max_prompt_tokens, self.config.max_completion_tokens)
        self.parents = Parents(self.device, compute, limits, lambda text: self.notice(text), self._trained_bytes())
        self.pinned = self.config

    def _trained_bytes(self) -> float:
        """The least memory for each weight of the model to train; gradient and moments if all are trained."""
        state = getattr(self.config.optimizer, "state_bytes", 0)  # a class of the user's may not say
        return 8 + state if isinstance(self.config.trainable, Full) else 4

    def pin(self) -> Any:
        """Return the configuration with every name on the Hub at its commit: the unfinished run's, else today's."""
        known = load_run(self.out).info.get("hub", {}) if self.unfinished else {}
        self.pins = ranks.on_main(partial(resolve, self.config, known))
        self.parents.pins = {at_commit(pin): pin for pin in self.pins.values()}
        self.pinned = pinned(self.config, self.pins)
        return self.pinned

    @property
    def limits(self) -> Limits:
        """The longest prompt and completion that the run uses."""
        return self.parents.limits

    def dropped(self, what: str) -> Dropped:
        """The count of what the reader of one data set leaves out."""
        return self.data.setdefault(what, Dropped())

    def recorded_parent(self, role: str) -> dict[str, Any]:
        """What the unfinished run says of its parent in this role; empty for a new run."""
        parents = load_run(self.out).info.get("parents", []) if self.unfinished else []
        return next((parent for parent in parents if parent["role"] == role), {})

    def train_only(self, trainable: TrainableProtocol, model: Body) -> None:
        """Freeze what of a model is not trained, and add what training adds."""
        trainable.prepare(model, int(random_stream(self.config.seed, "new weights").integers(2**62)))

    @cached_property
    def clock(self) -> datetime:
        """When the run began, local time: what a chat template that asks for the date is told on every later day."""
        begun = partial(load_run, self.out) if self.unfinished else None
        return ranks.on_main(lambda: (begun and begun().clock) or datetime.now().replace(microsecond=0))

    @cached_property
    def state(self) -> SavedState | None:
        """The state from which the unfinished run goes on, if it has kept one; ask once the parents are known."""
        if not self.unfinished:
            return None
        return ranks.on_main(partial(state_to_continue, self.out, self.parents.records, self._machine(), self.notice))

    @property
    def has_pairs(self) -> bool:
        """Whether this run has sampled its pairs already, from these parents."""
        return self.state is not None and (self.out / PAIRS).is_file()

    @contextmanager
    def start(
        self,
        trainer: TrainerState,
        steps: int,
        checkpoints: Collection[int] = (),
        states: Collection[int] = (),
        **info: Any,
    ) -> Iterator[StartedRun]:
        """Make the run directory, or put the trainer where an unfinished run left it; record how the block ends.

        `checkpoints` are the steps whose checkpoints are kept, as far as `keep` says so; `states` further ones (by
        default the same) after which the run could go on.
        """
        began = time.monotonic()
        ranks.on_main(self.lock.acquire)
        for sentence in describe_dropped(self._dropped(), self._kept()):
            self.notice(f"{self.out}: {sentence}")
        made: list[RunWriter] = []
        _ = self.state, self.clock  # agreed on by all processes, before one works alone
        ranks.on_main(lambda: made.append(self._writer(steps, info)))
        writer = made[0] if made else Bystander(self.out)
        self.budget.on_change = lambda tokens: writer.update(token_budget=tokens)
        if self.budget.tokens != self.config.compute.budget:  # memory ran out before there was a record of it
            self.budget.change(self.budget.tokens)
        kept = frozenset(checkpoints)
        checkpointer = Checkpointer(writer, trainer, self.budget, self.config.keep, kept, kept | frozenset(states))
        with SinkProcesses(self.out, self.sinks, self.notice) as sinks, self._recorded(checkpointer):
            if self.state is None:
                trainer.begin(self.config.seed)
                fit_budget(self.budget, trainer.model, self.config.compute, self.device)
            else:
                checkpointer.restore(self.state)
                began -= self.state.trainer["elapsed"]
            self.interrupts.waiting = True
            yield StartedRun(
                out=self.out,
                stage=self.config.stage,
                steps=steps,
                done=0 if self.state is None else self.state.step,
                resumed=self.state is not None,
                began=began,
                budget=self.budget,
                writer=writer,
                checkpointer=checkpointer,
                conditions=StopConditions(self.config.stop_when, self.out),
                interrupts=self.interrupts,
                sinks=sinks,
                tell=self.tell,
                notice=self.notice,
            )

    @contextmanager
    def _recorded(self, checkpointer: Checkpointer) -> Iterator[None]:
        """Record how the run ended."""
        try:
            yield
        except DivergedError as error:
            self._finish(checkpointer, "diverged", diverged_at=error.step)
            kept = last_checkpoint(load_run(self.out))
            raise UserError(f"{self.out}: diverged, {error}; {kept}. Lower lr, or set grad_clip") from error
        except StoppedError as stop:
            why = {"stopped_at": stop.step, "stopped_by": stop.condition, "reason": stop.reason}
            self._finish(checkpointer, "stopped", **why, go_back_to=stop.go_back_to)
            self.notice(f"{self.out}: stopped early, {stop}; go back to step {stop.go_back_to}")
        except (KeyboardInterrupt, SystemExit):
            raise  # the record says running or interrupted: the same command goes on
        except BaseException:
            with suppress(UserError):  # a full disk takes no status either
                checkpointer.writer.finish("failed")
            raise
        else:
            self._finish(checkpointer, "finished")

    def _finish(self, checkpointer: Checkpointer, status: str, **fields: Any) -> None:
        self.interrupts.waiting = False
        seconds = ranks.total(time.process_time() - self.cpu_began)
        checkpointer.finish(status, cpu_seconds=round(seconds, 1), **fields)

    def _writer(self, steps: int, info: dict[str, Any]) -> RunWriter:
        """The writer of a new run, or of the one to go on with."""
        if self.state is not None:
            check_data(load_run(self.out), steps, self._dropped(), source_hashes(self.pinned))
            writer = RunWriter.resume(self.out, self.state, to_yaml(self.config, self.out))
            self.notice(f"{self.out}: goes on after step {self.state.step} of {steps}")
            return writer
        if self.unfinished:
            clear_run(self.out)
            self.notice(f"{self.out}: had kept nothing to go on from, started again")
        return RunWriter.create(self.out, to_yaml(self.config, self.out), self._info(steps) | info)

    def _info(self, steps: int) -> dict[str, Any]:
        return {
            "stage": self.config.stage,
            "seed": self.config.seed,
            "prompt_style": self.config.task.prompt_style,
            "steps": steps,
            "clock": self.clock.isoformat(),
            **self._machine(),
            "parents": self.parents.records,
            "data": source_hashes(self.pinned),
            **({"hub": self.pins} if self.pins else {}),
            "provenance": dict(self.config.provenance),
            "dropped": self._dropped(),
            "kept": self._kept(),
        }

    def _machine(self) -> dict[str, Any]:
        compiled = native.available(self.device)
        machine = {"threads": torch.get_num_threads(), "device": str(self.device), "compiled_sampling": compiled}
        goes_on = self.unfinished and (self.out / INFO).is_file()  # not if it had kept nothing, and was cleared
        before = load_run(self.out).info.get("processes") if goes_on else None
        return machine | ({"processes": ranks.count()} if ranks.several() or before else {})

    def _dropped(self) -> dict[str, dict[str, int]]:
        return {what: dict(d.reasons) for what, d in self.data.items()}

    def _kept(self) -> dict[str, int]:
        return {what: d.kept for what, d in self.data.items() if d.kept is not None}


def last_checkpoint(run: Run) -> str:
    """Which checkpoint of a run that diverged can still be used, in words."""
    steps = run.checkpoints()
    return f"the checkpoint of step {steps[-1]} is kept" if steps else "no checkpoint had been made"
