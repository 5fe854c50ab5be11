"""What a stage works with: its run directory, once everything it needs has been found, its parents and its audience."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch

from overopt.config import to_yaml
from overopt.engine import native
from overopt.engine.compute import Compute
from overopt.engine.head import LOGITS_PER_CHUNK
from overopt.engine.memory import TokenBudget, fitting_tokens
from overopt.errors import DivergedError, StoppedError, UserError
from overopt.evaluation.evaluator import Evaluator
from overopt.integrations.sink_processes import SinkProcesses
from overopt.models.body import Body
from overopt.models.load import model_folder
from overopt.models.meta_policy import bytes_per_token
from overopt.models.policy import Policy
from overopt.objectives.state import State as ObjectiveState
from overopt.records import (
    RunLock,
    RunWriter,
    clear_run,
    describe_dropped,
    hash_parent,
    load_run,
    parent_files,
    remove_states,
)
from overopt.records.layout import PAIRS
from overopt.records.states import SavedState
from overopt.stopping import HistoryReader, decide
from overopt.training.run.progress import Progress
from overopt.training.run.resuming import check_data, state_to_continue
from overopt.training.run.sources import source_hashes
from overopt.training.run.stopping import Interrupts
from overopt.training.run.trainer_state import Moving
from overopt.types import Dropped

T = TypeVar("T")

SHOWN = ("loss", "score_mean", "gold_mean", "kl_ref", "rewards_acc", "win_rate")
"""Metrics that a status line may show."""
GRADIENT_AND_MOMENTS = 12
"""Bytes a parameter that the first update will take: a gradient, and the optimizer's two moments."""


@dataclass
class Session:
    """One run being made. Nothing is written before `start`, so bad input leaves nothing behind."""

    config: Any
    out: Path
    compute: Compute
    tell: Callable[[Progress], None] | None = None
    notice: Callable[[str], None] = lambda text: None
    unfinished: bool = False
    """Whether `out` holds this run, cut short: it goes on once everything is at hand."""
    interrupts: Interrupts = field(default_factory=Interrupts)
    device: torch.device = field(init=False)
    lock: RunLock = field(init=False)
    writer: RunWriter | None = None
    parents: list[dict[str, Any]] = field(default_factory=list)
    data: dict[str, Dropped] = field(default_factory=dict)
    steps: int = 0
    done: int = 0
    """Steps made before this session."""
    began: float = 0.0
    budget: TokenBudget = field(init=False)
    moving: Moving | None = None
    kept: frozenset[int] = frozenset()
    states: frozenset[int] = frozenset()
    checkpoints: dict[int, dict[str, str]] = field(default_factory=dict)
    """The checkpoints kept so far, with the hashes of their files."""
    quality: float | None = None
    """What `keep: best` compares, of the evaluation just made."""
    best: float | None = None
    sinks: Sequence[Any] = ()
    sink_processes: SinkProcesses | None = None

    def __post_init__(self) -> None:
        self.device = self.compute.resolve()
        self.lock = RunLock(self.out)
        self.budget = TokenBudget(self.compute.budget)

    def parent(self, role: str, location: str, stages: Collection[str]) -> Path:
        """The model folder of a parent: a finished run of one of these stages, or an ordinary model folder."""
        path = model_folder(location)
        if not (path / "run.json").is_file():
            if not (path / "config.json").is_file():
                raise UserError(f"{role}: {path} is neither a run directory nor a Hugging Face model folder")
            self._remember(role, path)
            return path
        run = load_run(path)
        if run.stage not in stages:
            raise UserError(f"{role}: {path} is a run of stage {run.stage}; needed: {' or '.join(sorted(stages))}")
        if not run.complete:
            raise UserError(f"{role}: {path} is {run.status}, not finished; finish or repeat that run first")
        if run.status == "stopped" and run.info.get("go_back_to") not in run.checkpoints():
            raise UserError(
                f"{role}: {path} was stopped at step {run.info['stopped_at']}, and no checkpoint is kept of step "
                f"{run.info['go_back_to']}, the best; name what it started from, or the folder of a checkpoint"
            )
        self._remember(role, path)
        return run.checkpoint()

    def _remember(self, role: str, path: Path) -> None:
        files = parent_files(path)
        self.parents.append({"role": role, "path": str(path), "hash": hash_parent(path), "files": files})

    def dropped(self, what: str) -> Dropped:
        """Where the reader of one data set counts what it leaves out."""
        return self.data.setdefault(what, Dropped())

    def start(self, steps: int, **info: Any) -> RunWriter:
        """Everything is at hand: make the run directory, or go on with the run that it holds."""
        self.steps, self.began = steps, time.monotonic()
        self.lock.acquire()
        for sentence in describe_dropped(self._dropped(), self._kept()):
            self.notice(f"{self.out}: {sentence}")
        if self.state is not None:
            check_data(load_run(self.out), steps, self._dropped(), source_hashes(self.config))
            self.done = self.state.step
            self.writer = RunWriter.resume(self.out, self.state, to_yaml(self.config, self.out))
            self.notice(f"{self.out}: goes on after step {self.done} of {steps}")
            return self.writer
        if self.unfinished:
            clear_run(self.out)
            self.notice(f"{self.out}: had kept nothing to go on from, started again")
        self.writer = RunWriter.create(self.out, to_yaml(self.config, self.out), self._info() | info)
        return self.writer

    def within_memory(self, work: Callable[[Any], T], undo: Callable[[], None] = lambda: None) -> T:
        """What `work` makes of the configuration; where memory ran out, of one with a smaller token budget."""
        reductions = self.budget.reductions

        def with_budget(tokens: int) -> T:
            compute = replace(self.compute, token_budget=tokens)
            return work(self.config if tokens == self.compute.budget else replace(self.config, compute=compute))

        made = self.budget.within(with_budget, undo)
        if self.budget.reductions > reductions and self.writer is not None:
            self.writer.update(token_budget=self.budget.tokens)
        return made

    def _fit_memory(self, model: Body) -> None:
        """On a GPU, where nothing else is asked for: the token budget that its free memory holds."""
        if self.device.type != "cuda" or self.compute.token_budget is not None:
            return
        torch.cuda.empty_cache()
        free, _ = torch.cuda.mem_get_info(self.device)
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        pending = trained * GRADIENT_AND_MOMENTS + 3 * 4 * LOGITS_PER_CHUNK
        per_token = bytes_per_token(model, self.compute.gradient_checkpointing == "layers")
        self.budget.tokens = fitting_tokens(free, pending, per_token)
        assert self.writer is not None
        self.writer.update(token_budget=self.budget.tokens)

    def _info(self) -> dict[str, Any]:
        return {
            "stage": self.config.stage,
            "seed": self.config.seed,
            "prompt_style": self.config.task.prompt_style,
            "steps": self.steps,
            "clock": self.clock.isoformat(),
            **self._machine(),
            "parents": self.parents,
            "data": source_hashes(self.config),
            "provenance": dict(self.config.provenance),
            "dropped": self._dropped(),
            "kept": self._kept(),
        }

    def _machine(self) -> dict[str, Any]:
        compiled = native.available(self.device)
        return {"threads": torch.get_num_threads(), "device": str(self.device), "compiled_sampling": compiled}

    def _dropped(self) -> dict[str, dict[str, int]]:
        return {what: dict(d.reasons) for what, d in self.data.items()}

    def _kept(self) -> dict[str, int]:
        return {what: d.kept for what, d in self.data.items() if d.kept is not None}

    @cached_property
    def clock(self) -> datetime:
        """When the run began, local time: what a chat template that asks for the date is told on every later day."""
        return (load_run(self.out).clock if self.unfinished else None) or datetime.now().replace(microsecond=0)

    @cached_property
    def state(self) -> SavedState | None:
        """What the unfinished run goes on from, if it has kept anything; asked for once the parents are known."""
        return state_to_continue(self.out, self.parents, self._machine(), self.notice) if self.unfinished else None

    @property
    def resumed(self) -> bool:
        """Whether this goes on with a run whose beginning is recorded: then the first evaluation is, too."""
        return self.state is not None

    @property
    def has_pairs(self) -> bool:
        """Whether this run has sampled its pairs already, from these parents."""
        return self.resumed and (self.out / PAIRS).is_file()

    def restore(self, moving: Moving, kept: Collection[int] = (), states: Collection[int] = ()) -> None:
        """Say what moves, in the steps to come, and put it where the run left it.

        `kept` are the steps whose checkpoints are kept, as far as `keep` says so; `states` further ones (by default
        the same) after which the run could go on.
        """
        self.moving, self.kept, self.states = moving, frozenset(kept), frozenset(states) | frozenset(kept)
        if self.state is None:
            moving.begin(self.config.seed)
            self._fit_memory(moving.model)
        else:
            trainer = self.state.trainer
            moving.restore(self.done, self.state.tensors, trainer["moving"])
            self.checkpoints = dict(self.state.checkpoints)
            self.best, self.began = trainer["best"], self.began - trainer["elapsed"]
            self.budget.tokens = trainer["token_budget"]
        self.interrupts.waiting = True
        if self.sinks:
            self.sink_processes = SinkProcesses(self.out, self.sinks, self.notice)
        if self.done:  # killed between the last state and the stop
            self._stop_if_met(self.done)

    def steps_left(self) -> range:
        """The steps to make, from 1."""
        return range(self.done + 1, self.steps + 1)

    def log(self, step: int, metrics: Mapping[str, float], tokens: int) -> None:
        """Record one step, and stop the run if its loss or gradient is broken."""
        assert self.writer is not None
        self.writer.log(step, metrics)
        now = time.monotonic()
        self.writer.log_timings(step, {"elapsed": now - self.began, "tokens": tokens})
        for name in ("loss", "grad_norm", "kl_prev"):
            if name in metrics and not abs(metrics[name]) < float("inf"):
                raise DivergedError(step, f"{name} is {metrics[name]}")
        if self.sink_processes is not None:
            self.sink_processes.warn_of_failures()
        if self.tell is not None:
            shown = {name: metrics[name] for name in SHOWN if name in metrics}
            self.tell(Progress(self.config.stage, step, self.steps, shown))

    def evaluate(self, evaluator: Evaluator, policy: Policy, step: int) -> None:
        """Evaluate, and record the row and the samples."""
        assert self.writer is not None
        _check_finite(policy, step)
        row, samples = evaluator.evaluate(policy, step)
        self.writer.write_samples(step, samples)
        self.writer.log_evaluation(row)
        self.quality = row.get("win_rate")

    def record(self, row: Mapping[str, Any]) -> None:
        """Add a row to the run's evaluations."""
        assert self.writer is not None
        self.writer.log_evaluation(row)
        if self.quality is None:
            self.quality = row.get("accuracy")

    def keep(self, step: int, objectives: ObjectiveState | None = None) -> None:
        """After a step and its evaluation: keep what is due, and stop if that was asked for."""
        stop = self.interrupts.heard is not None
        if step == 0 or step in self.states or stop:
            assert self.moving is not None
            self.moving.objectives = objectives or {}
            self._keep(self.moving, step)
        self.quality = None
        self._stop_if_met(step)
        if stop and step < self.steps:
            assert self.writer is not None
            self.writer.update(status="interrupted")
            self.notice(f"{self.out}: stopped after step {step}; the same command goes on from there")
            self.interrupts.leave()

    def _stop_if_met(self, step: int) -> None:
        """End the run in time, by what it has recorded; at its last step it ends anyway."""
        if not self.config.stop_when or not 0 < step < self.steps:
            return
        stop = decide(self.config.stop_when, self.history_reader.read())
        if stop is not None:
            raise StoppedError(step, stop.condition, stop.reason, stop.go_back_to)

    @cached_property
    def history_reader(self) -> HistoryReader:
        return HistoryReader(self.out)

    def _keep(self, moving: Moving, step: int) -> None:
        """A checkpoint, an ordinary Hugging Face folder, where one is due; then the state, which makes both count."""
        assert self.writer is not None
        _check_finite(moving.model, step)
        self.writer.check_space(moving.size() + (moving.model_size() if step in self.kept else 0))
        if step in self.kept and self._is_wanted():
            with self.writer.checkpoint(step) as folder:
                moving.model.save(folder)
            hashes = self.writer.checkpoint_hashes(step)
            self.checkpoints = {step: hashes} if self.policy != "every" else {**self.checkpoints, step: hashes}
            self.best = self.quality
        trainer = {
            "moving": moving.document(),
            "best": self.best,
            "elapsed": time.monotonic() - self.began,
            "token_budget": self.budget.tokens,
        }
        self.writer.commit_state(step, self.checkpoints, trainer, lambda file: moving.save(file, step))

    def _is_wanted(self) -> bool:
        """Whether this checkpoint is kept for now: of equals the earlier is the best; without a measure the last."""
        if self.policy != "best" or self.quality is None or self.best is None:
            return True
        return self.quality > self.best

    @property
    def policy(self) -> str:
        return str(self.config.keep)

    def finish(self, status: str, **fields: Any) -> None:
        """The run has ended: keep the checkpoints that its policy says, and nothing to go on from."""
        assert self.writer is not None
        self.interrupts.waiting = False
        self.writer.keep_checkpoints(self.checkpoints)
        self.writer.finish(status, **fields)
        remove_states(self.out)  # last: until now a run that is killed goes on from them


def _check_finite(model: Body, step: int) -> None:
    if not all(bool(p.isfinite().all()) for p in model.parameters()):
        raise DivergedError(step, "a weight is not finite")
