"""What a stage works with: its run directory, once everything it needs has been found, its parents and its audience."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from overopt.config import to_yaml
from overopt.engine.compute import Compute
from overopt.engine.memory import TokenBudget
from overopt.errors import DivergedError, UserError
from overopt.evaluation.evaluator import Evaluator
from overopt.models.body import Body
from overopt.models.load import model_folder
from overopt.models.policy import Policy
from overopt.records import RunWriter, clear, hash_weights, load_run
from overopt.training.progress import Progress
from overopt.types import Dropped

T = TypeVar("T")

SHOWN = ("loss", "score_mean", "gold_mean", "kl_ref", "rewards_acc", "win_rate")
"""Metrics that a status line may show."""


@dataclass
class Session:
    """One run being made. Nothing is written before `start`, so bad input leaves nothing behind."""

    config: Any
    out: Path
    compute: Compute
    tell: Callable[[Progress], None] | None = None
    restart: bool = False
    """Whether `out` holds this run, cut short: it is cleared once everything is at hand to make it again."""
    device: torch.device = field(init=False)
    writer: RunWriter | None = None
    parents: list[dict[str, Any]] = field(default_factory=list)
    data: dict[str, Dropped] = field(default_factory=dict)
    steps: int = 0
    began: float = 0.0
    budget: TokenBudget = field(init=False)

    def __post_init__(self) -> None:
        self.device = self.compute.resolve()
        self.budget = TokenBudget(self.compute.token_budget)

    def parent(self, role: str, location: str, stages: Collection[str]) -> Path:
        """The model folder of a parent: a finished run of one of these stages, or an ordinary model folder."""
        path = model_folder(location)
        if not (path / "run.json").is_file():
            if not (path / "config.json").is_file():
                raise UserError(f"{role}: {path} is neither a run directory nor a Hugging Face model folder")
            self.parents.append({"role": role, "path": str(path), "hash": hash_weights(path)})
            return path
        run = load_run(path)
        if run.stage not in stages:
            raise UserError(f"{role}: {path} is a run of stage {run.stage}; needed: {' or '.join(sorted(stages))}")
        if run.status != "finished":
            raise UserError(f"{role}: {path} is {run.status}, not finished; finish or repeat that run first")
        self.parents.append({"role": role, "path": str(path), "hash": run.hash()})
        return run.checkpoint()

    def dropped(self, what: str) -> Dropped:
        """Where the reader of one data set counts what it leaves out."""
        return self.data.setdefault(what, Dropped())

    def start(self, steps: int, **info: Any) -> RunWriter:
        """Everything is at hand: make the run directory."""
        self.steps, self.began = steps, time.monotonic()
        data = {what: dict(d.reasons) for what, d in self.data.items()}
        if self.restart:
            clear(self.out)
        self.writer = RunWriter.create(
            self.out,
            to_yaml(self.config, self.out),
            {
                "stage": self.config.stage,
                "seed": self.config.seed,
                "prompt_style": self.config.task.prompt_style,
                "steps": steps,
                "threads": torch.get_num_threads(),
                "device": str(self.device),
                "parents": self.parents,
                "provenance": dict(self.config.provenance),
                "dropped": data,
                **info,
            },
        )
        return self.writer

    def within_memory(self, work: Callable[[Any], T], undo: Callable[[], None] = lambda: None) -> T:
        """What `work` makes of the configuration; where memory ran out, of one with a smaller token budget."""
        reductions = self.budget.reductions

        def with_budget(tokens: int) -> T:
            compute = replace(self.compute, token_budget=tokens)
            return work(self.config if tokens == self.compute.token_budget else replace(self.config, compute=compute))

        made = self.budget.within(with_budget, undo)
        if self.budget.reductions > reductions and self.writer is not None:
            self.writer.update(token_budget=self.budget.tokens)
        return made

    def log(self, step: int, metrics: Mapping[str, float], tokens: int) -> None:
        """Record one step, and stop the run if its loss or gradient is broken."""
        assert self.writer is not None
        self.writer.log(step, metrics)
        now = time.monotonic()
        self.writer.time(step, {"elapsed": now - self.began, "tokens": tokens})
        for name in ("loss", "grad_norm", "kl_prev"):
            if name in metrics and not abs(metrics[name]) < float("inf"):
                raise DivergedError(step, f"{name} is {metrics[name]}")
        if self.tell is not None:
            shown = {name: metrics[name] for name in SHOWN if name in metrics}
            self.tell(Progress(self.config.stage, step, self.steps, shown))

    def evaluate(self, evaluator: Evaluator, policy: Policy, step: int) -> None:
        """Evaluate, and record the row and the samples."""
        assert self.writer is not None
        row, samples = evaluator.evaluate(policy, step)
        self.writer.samples(step, samples)
        self.writer.evaluate(row)

    def record(self, row: Mapping[str, Any]) -> None:
        """Add a row to the run's evaluations."""
        assert self.writer is not None
        self.writer.evaluate(row)

    def save(self, model: Body, step: int) -> None:
        """Keep a checkpoint, an ordinary Hugging Face folder, unless the step has broken the weights."""
        assert self.writer is not None
        if not all(bool(p.isfinite().all()) for p in model.parameters()):
            raise DivergedError(step, "a weight is not finite")
        with self.writer.checkpoint(step) as folder:
            model.save(folder)
