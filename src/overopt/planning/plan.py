"""The plan of a stage before anything runs: parameters, tokens, FLOPs, memory by part, hours and cost.

Counts come from the configuration, the model's shape and the task's own texts. Hours on this machine come from a
measured piece of a step: a model of the same shape with random weights makes each kind of pass once. Hours on a named
GPU come from its data sheet, at the share of the peak that training usually reaches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from textwrap import wrap
from typing import Any

import torch

from overopt.engine.devices import Device, device_named
from overopt.errors import UserError
from overopt.hub.names import parse
from overopt.models.adapter import holds_model
from overopt.models.load import Scratch, folder_config, load_tokenizer, model_folder
from overopt.planning.answers import Answers
from overopt.planning.gpus import fitting_gpus, in_words
from overopt.planning.memory import loading_of, memory_of
from overopt.planning.seconds import DataSheetSpeed, MeasuredSpeed, Seconds, seconds_of
from overopt.planning.work import Shape, Work, work_of
from overopt.records import load_run
from overopt.training.stages.sft import SFT


@dataclass(frozen=True)
class Plan:
    """A stage's cost."""

    name: str
    stage: str
    shape: Shape
    work: Work
    seconds: Seconds
    memory: dict[str, float]
    """Megabytes by part."""
    where: str
    fits: dict[str, int]
    """By GPU the tokens of a micro-batch that its memory holds; 0: it is too small."""

    @property
    def seconds_per_step(self) -> float:
        return sum(self.seconds.step.values())

    @property
    def hours(self) -> float:
        return (self.work.steps * self.seconds_per_step + sum(self.seconds.outside.values())) / 3600

    def row(self, price: float | None) -> dict[str, Any]:
        """What `--json` prints."""
        cost = {} if price is None else {"cost": self.hours * price}
        work = self.work
        return {
            "name": self.name, "stage": self.stage, "parameters": self.shape.parameters, "steps": work.steps,
            "tokens": round(work.steps * work.batch.tokens), "flops": work.steps * work.flops(self.shape),
            "completion_tokens": work.batch.completion, "lengths": work.lengths, "evaluations": work.evaluations,
            "seconds_per_step": self.seconds_per_step, "seconds": self.seconds.step,
            "seconds_beside": self.seconds.outside, "hours": self.hours,
            "memory_mb": self.memory, "memory_mb_sum": sum(self.memory.values()), "where": self.where,
            "fits": self.fits, **cost,
        }  # fmt: skip


def _model(stage: Any, parent: Callable[[str], Any]) -> tuple[Any, Any]:
    """Configuration and tokenizer of the model that a stage starts from."""
    if not isinstance(stage, SFT):
        return parent(stage.policy)
    if isinstance(stage.model, Scratch):
        tokenizer = stage.model.choose_tokenizer(stage.task.vocabulary())
        return stage.model.hf_config(tokenizer), tokenizer
    return parent(stage.model.path)


def from_folder(location: str) -> tuple[Any, Any]:
    """Configuration and tokenizer of a run's last checkpoint, a model folder or a name on the Hub."""
    path = model_folder(location, "tokenizer")
    folder = load_run(path).checkpoint() if (path / "run.json").is_file() else path
    if not holds_model(folder):
        raise UserError(
            f"{path}: neither a run directory nor a Hugging Face model folder; "
            "make it first, or put the YAML that trains it beside this one"
        )
    return folder_config(folder), load_tokenizer(folder)


def table(plans: Sequence[Plan], price: float | None) -> str:
    """Plans as text: some lines for each, or for those that are equal but for their names; then the sum."""
    alike: dict[str, list[Plan]] = {}
    for plan in plans:
        alike.setdefault(repr(replace(plan, name="")), []).append(plan)
    lines = [line for same in alike.values() for line in _lines(same, price)]
    if len(plans) > 1:
        hours = sum(plan.hours for plan in plans)
        cost = "" if price is None else f", cost {hours * price:.2f}"
        lines.append(f"sum: {len(plans)} stages, {_duration(hours)} one after another{cost}")
    return "\n".join(lines)


def _lines(plans: Sequence[Plan], price: float | None) -> list[str]:
    """The lines of equal plans."""
    plan, count = plans[0], len(plans)
    row, work = plan.row(price), plan.work
    outside = {f"{work.evaluations} evaluations" if name == "evaluations" else name: s / 3600
              for name, s in plan.seconds.outside.items()}  # fmt: skip
    parts = ", ".join(f"{name} {mb:,.0f}" for name, mb in plan.memory.items())
    times = ", ".join(f"{name} {s:.3g}" for name, s in plan.seconds.step.items() if s)
    hours = ", ".join(f"{name} {_duration(h)}" for name, h in outside.items())
    others = wrap(", ".join(other.name for other in plans[1:]), 112, break_long_words=False, break_on_hyphens=False)
    all_of_them = f", all {count} {_duration(count * plan.hours)}" if others else ""
    return [
        f"{plan.name}: stage {plan.stage}, {row['parameters']:,} parameters, {row['steps']:,} steps,"
        f" {row['tokens']:,} tokens, {row['flops']:.3g} FLOPs",
        *(["  the same:", *(f"    {line}" for line in others)] if others else []),
        f"  completions of {work.batch.completion:.3g} tokens, {work.lengths}",
        f"  memory {row['memory_mb_sum']:,.0f} MB: {parts}",
        f"  {in_words(row['fits'])}",
        f"  {plan.seconds_per_step:.3g} s a step ({times})" + (f"; {hours}" if hours else ""),
        f"  {_duration(plan.hours)}{all_of_them}, {plan.where}"
        + (f", cost {row['cost']:.2f}" if price is not None else ""),
    ]


def _duration(hours: float) -> str:
    if hours >= 1:
        return f"{hours:.2f} hours"
    return f"{60 * hours:.1f} minutes" if hours >= 1 / 60 else f"{3600 * hours:.3g} seconds"


@dataclass
class _Planner:
    """Plans stages one after another; what several have in common is read and computed once."""

    device: Device | None
    known: Mapping[str, Any]
    """All stages by the name of their run directory."""
    ask: Answers = field(default_factory=Answers)
    folders: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    shapes: dict[str, Shape] = field(default_factory=dict)
    made: dict[str, Plan] = field(default_factory=dict)
    """By everything that a plan depends on."""

    def plan(self, name: str, stage: Any) -> Plan:
        config, tokenizer = _model(stage, self.parent)
        text = config.to_json_string()
        if text not in self.shapes:
            self.shapes[text] = Shape.of(config)
        shape = self.shapes[text]
        work = work_of(stage, tokenizer, self.known, self.ask)
        limits = stage.max_prompt_tokens, stage.max_completion_tokens
        key = repr((stage.stage, text, work, stage.compute, stage.optimizer, stage.trainable, limits))
        if key not in self.made:
            self.made[key] = self._compute(name, stage, config, shape, work)
        return replace(self.made[key], name=name)

    def _compute(self, name: str, stage: Any, config: Any, shape: Shape, work: Work) -> Plan:
        compute = stage.compute
        on_gpu = self.device is not None or torch.cuda.is_available()
        memory = memory_of(stage, config, shape, work, on_gpu)
        speed: DataSheetSpeed | MeasuredSpeed
        if self.device is None:
            speed, where = MeasuredSpeed(stage, config, shape, work), "this machine"
        else:
            recomputes = compute.gradient_checkpointing == "layers"
            speed = DataSheetSpeed(
                shape, self.device, compute.bf16, compute.evaluation_budget, recomputes=recomputes,
                backward=work.backward,
            )  # fmt: skip
            where = self.device.source
        gradients = memory.get("optimizer", 0.0) * 4 / getattr(stage.optimizer, "state_bytes", 8)
        tokens = min(compute.budget, round(work.batch.tokens))
        fits = fitting_gpus(memory, gradients, tokens, work.batch.tree_tokens, loading_of(stage, shape, work))
        return Plan(name, stage.stage, shape, work, seconds_of(work, speed), memory, where, fits)

    def parent(self, location: str) -> tuple[Any, Any]:
        """Configuration and tokenizer of the model at a location, also of a run that is planned only."""
        name = Path(location).name
        if parse(location) is None and name in self.known and not (Path(location) / "run.json").is_file():
            return _model(self.known[name], self.parent)
        if location not in self.folders:
            self.folders[location] = from_folder(location)
        return self.folders[location]


def plan_all(
    stages: Mapping[str, Any], device_name: str | None = None, parents: Mapping[str, Any] | None = None
) -> list[Plan]:
    """Plans of stages that may be each other's parents, written `runs/NAME`; for this machine, or a GPU by name.

    `parents` are further stages, by the name of their run directory, that the planned ones descend from.
    """
    planner = _Planner(None if device_name is None else device_named(device_name), {**(parents or {}), **stages})
    return [planner.plan(name, stage) for name, stage in stages.items()]


def models_of(stages: Mapping[str, Any], parents: Mapping[str, Any] | None = None) -> dict[str, tuple[Any, Any]]:
    """Configuration and tokenizer of the model that each stage starts from; arguments as those of `plan_all`."""
    planner = _Planner(None, {**(parents or {}), **stages})
    return {name: _model(stage, planner.parent) for name, stage in stages.items()}
