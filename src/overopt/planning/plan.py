"""The plan of a stage before anything runs: parameters, tokens, FLOPs, memory by part, hours and cost.

Counts come from the configuration, the model's shape and the task's own texts. Hours on this machine come from a
measured piece of a step: a model of the same shape with random weights makes each kind of pass once. Hours on a named
GPU come from its data sheet, at the share of the peak that training usually reaches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from overopt.engine.devices import Device, device_named
from overopt.errors import UserError
from overopt.models.load import Scratch, folder_config, load_tokenizer, model_folder
from overopt.planning.memory import memory_of
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
            "memory_mb": self.memory, "memory_mb_sum": sum(self.memory.values()), "where": self.where, **cost,
        }  # fmt: skip


def plan_stage(
    name: str, stage: Any, parent: Callable[[str], Any], device: Device | None, others: Mapping[str, Any] | None = None
) -> Plan:
    """The plan of one stage; `parent` gives the configuration of the model at a location, and its tokenizer."""
    config, tokenizer = _model(stage, parent)
    shape = Shape.of(config)
    work = work_of(stage, tokenizer, others)
    memory = memory_of(stage, config, shape, work)
    speed: DataSheetSpeed | MeasuredSpeed
    if device is None:
        speed, where = MeasuredSpeed(stage, config, shape, work), "this machine"
    else:
        speed = DataSheetSpeed(shape, device, stage.compute.bf16, stage.compute.evaluation_budget)
        where = device.source
    return Plan(name, stage.stage, shape, work, seconds_of(work, speed), memory, where)


def _model(stage: Any, parent: Callable[[str], Any]) -> tuple[Any, Any]:
    """Configuration and tokenizer of the model that a stage starts from."""
    if not isinstance(stage, SFT):
        return parent(stage.policy)
    if isinstance(stage.model, Scratch):
        tokenizer = stage.model.choose_tokenizer(stage.task.vocabulary())
        return stage.model.hf_config(tokenizer), tokenizer
    return parent(stage.model.path)


def from_folder(location: str) -> tuple[Any, Any]:
    """Configuration and tokenizer of a run's last checkpoint or of a model folder."""
    path = model_folder(location)
    folder = load_run(path).checkpoint() if (path / "run.json").is_file() else path
    if not (folder / "config.json").is_file():
        raise UserError(
            f"{path}: neither a run directory nor a Hugging Face model folder; "
            "make it first, or put the YAML that trains it beside this one"
        )
    return folder_config(folder), load_tokenizer(folder)


def table(plans: Sequence[Plan], price: float | None) -> str:
    """Plans as text: some lines each, then the sum."""
    lines = [line for plan in plans for line in _lines(plan, price)]
    if len(plans) > 1:
        hours = sum(plan.hours for plan in plans)
        cost = "" if price is None else f", cost {hours * price:.2f}"
        lines.append(f"sum: {len(plans)} stages, {_duration(hours)} one after another{cost}")
    return "\n".join(lines)


def _lines(plan: Plan, price: float | None) -> list[str]:
    row, work = plan.row(price), plan.work
    outside = {f"{work.evaluations} evaluations" if name == "evaluations" else name: s / 3600
              for name, s in plan.seconds.outside.items()}  # fmt: skip
    parts = ", ".join(f"{name} {mb:,.0f}" for name, mb in plan.memory.items())
    times = ", ".join(f"{name} {s:.3g}" for name, s in plan.seconds.step.items() if s)
    hours = ", ".join(f"{name} {_duration(h)}" for name, h in outside.items())
    return [
        f"{plan.name}: stage {plan.stage}, {row['parameters']:,} parameters, {row['steps']:,} steps,"
        f" {row['tokens']:,} tokens, {row['flops']:.3g} FLOPs",
        f"  completions of {work.batch.completion:.3g} tokens, {work.lengths}",
        f"  memory {row['memory_mb_sum']:,.0f} MB: {parts}",
        f"  {plan.seconds_per_step:.3g} s a step ({times})" + (f"; {hours}" if hours else ""),
        f"  {_duration(plan.hours)}, {plan.where}" + (f", cost {row['cost']:.2f}" if price is not None else ""),
    ]


def _duration(hours: float) -> str:
    if hours >= 1:
        return f"{hours:.2f} hours"
    return f"{60 * hours:.1f} minutes" if hours >= 1 / 60 else f"{3600 * hours:.3g} seconds"


def plan_all(
    stages: Mapping[str, Any], device_name: str | None = None, parents: Mapping[str, Any] | None = None
) -> list[Plan]:
    """Plans of stages that may be each other's parents, written `runs/NAME`; for this machine, or a GPU by name.

    `parents` are further stages, by the name of their run directory, that the planned ones descend from.
    """
    device = None if device_name is None else device_named(device_name)
    known = {**(parents or {}), **stages}

    def parent(location: str) -> Any:
        name = Path(location).name
        if name in known and not (Path(location) / "run.json").is_file():
            return _model(known[name], parent)
        return from_folder(location)

    return [plan_stage(name, stage, parent, device, known) for name, stage in stages.items()]
