"""Optimizers, learning-rate schedules and gradient clipping."""

from __future__ import annotations

import logging
import math
from abc import abstractmethod
from collections.abc import Iterable
from typing import Annotated, ClassVar, Protocol

import torch
from pydantic import Field
from torch import Tensor

from overopt.config import Choice, NonNegative, block
from overopt.engine import ranks
from overopt.errors import UserError

Fraction = Annotated[float, Field(ge=0, lt=1)]
Steps = Annotated[int, Field(ge=0)]


def _warm(step: int, warmup: int) -> float:
    return min(1.0, (step + 1) / warmup) if warmup else 1.0


class ScheduleProtocol(Protocol):
    """What a learning-rate schedule has."""

    @abstractmethod
    def __call__(self, step: int, steps: int) -> float:
        """Factor on the peak learning rate at `step` (from 0) of `steps`."""


@block
class Constant(ScheduleProtocol):
    """The learning rate rises linearly over `warmup` steps and stays."""

    warmup: Steps = 0

    def __call__(self, step: int, steps: int) -> float:
        return _warm(step, self.warmup)


@block
class LinearDecay(ScheduleProtocol):
    """Linear decay from lr to `floor` times lr over all steps, multiplied by a linear rise over the first `warmup`."""

    config_name: ClassVar[str] = "linear"

    warmup: Steps = 0
    floor: Fraction = 0.0

    def __call__(self, step: int, steps: int) -> float:
        return _warm(step, self.warmup) * max(self.floor, 1.0 - step / steps)


@block
class CosineDecay(ScheduleProtocol):
    """Half a cosine from lr to `floor` times lr over all steps, multiplied by a linear rise over the first `warmup`."""

    config_name: ClassVar[str] = "cosine"

    warmup: Steps = 0
    floor: Fraction = 0.0

    def __call__(self, step: int, steps: int) -> float:
        decay = 0.5 * (1.0 + math.cos(math.pi * step / steps))
        return _warm(step, self.warmup) * (self.floor + (1.0 - self.floor) * decay)


Schedule = Annotated[Constant | LinearDecay | CosineDecay, Choice(ScheduleProtocol)]


class OptimizerProtocol(Protocol):
    """What the settings of an optimizer have."""

    state_bytes: ClassVar[float] = 8
    """Bytes of state for each trained number, for plans."""

    @abstractmethod
    def build(self, parameters: list[torch.nn.Parameter], lr: float) -> torch.optim.Optimizer:
        """The optimizer over trainable parameters; a schedule sets its rate from then on."""


@block
class AdamW(OptimizerProtocol):
    """AdamW (Loshchilov & Hutter 2019). The defaults are the recipe's: eps 1e-5, weight decay per stage."""

    config_name: ClassVar[str] = "adamw"

    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    eps: Annotated[float, Field(gt=0)] = 1e-5
    weight_decay: NonNegative = 0.0

    def build(self, parameters: list[torch.nn.Parameter], lr: float) -> torch.optim.Optimizer:
        return torch.optim.AdamW(
            parameters, lr=lr, betas=self.betas, eps=self.eps, weight_decay=self.weight_decay, fused=True
        )


@block
class AdamW8bit(OptimizerProtocol):
    """AdamW whose moments are kept in 8 bits, with a scale for each 256 (Dettmers et al. 2022), by bitsandbytes.

    Two bytes for each trained number instead of eight. Tensors of fewer than 4096 numbers keep moments in float32.
    """

    config_name: ClassVar[str] = "adamw_8bit"
    state_bytes: ClassVar[float] = 2 + 2 * 4 / 256

    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    eps: Annotated[float, Field(gt=0)] = 1e-5
    weight_decay: NonNegative = 0.0

    def build(self, parameters: list[torch.nn.Parameter], lr: float) -> torch.optim.Optimizer:
        logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it tells of kernels that are not used here
        try:
            from bitsandbytes.optim import AdamW8bit as Library
        except ImportError as error:
            raise UserError(
                "optimizer: adamw_8bit needs the library bitsandbytes: pip install 'overopt[bitsandbytes]'"
            ) from error
        made: torch.optim.Optimizer = Library(
            parameters, lr=lr, betas=self.betas, eps=self.eps, weight_decay=self.weight_decay
        )
        return made


@block
class SGD(OptimizerProtocol):
    """Stochastic gradient descent: w <- w - lr v, v <- momentum v + g + weight_decay w.

    With no momentum and a rate that decays to 0 it is what statements about fixed points assume (Robbins & Monro 1951).
    """

    state_bytes: ClassVar[float] = 4

    momentum: Fraction = 0.0
    weight_decay: NonNegative = 0.0

    def build(self, parameters: list[torch.nn.Parameter], lr: float) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=lr, momentum=self.momentum, weight_decay=self.weight_decay)


OptimizerSettings = Annotated[AdamW | AdamW8bit | SGD, Choice(OptimizerProtocol)]


class Optimizer:
    """A torch optimizer over the trainable parameters with a learning-rate schedule."""

    def __init__(
        self,
        parameters: Iterable[torch.nn.Parameter],
        settings: OptimizerSettings,
        lr: float,
        schedule: Schedule,
        steps: int,
    ) -> None:
        self.parameters = [p for p in parameters if p.requires_grad]
        self.lr, self.schedule, self.steps = lr, schedule, steps
        self.optimizer = settings.build(self.parameters, lr)

    def lr_at(self, step: int) -> float:
        """The learning rate of a step, counted from 1; a schedule counts the steps made before it."""
        return self.lr * self.schedule(step - 1, self.steps)

    def step(self, step: int, clip: float | None) -> Tensor:
        """Apply the accumulated gradients at the rate of `step`, from 1; returns their norm before clipping.

        Gradients are summed over all processes first.
        """
        ranks.sum_gradients(self.parameters)
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, math.inf if clip is None else clip)
        if torch.isfinite(norm):  # else the weights stay as they are, and the caller stops the run
            for group in self.optimizer.param_groups:
                group["lr"] = self.lr_at(step)
            self.optimizer.step()
        self.discard()
        return norm

    def discard(self) -> None:
        """Drop the accumulated gradients."""
        self.optimizer.zero_grad(set_to_none=True)

    def tensors(self) -> dict[str, Tensor]:
        """The optimizer's state of each parameter, as `INDEX.NAME`."""
        state, tensors, seen = self.optimizer.state, {}, set()
        for i, parameter in enumerate(self.parameters):
            for name, value in state[parameter].items():
                if value is None:  # momentum before the first step
                    continue
                tensor = torch.tensor(value) if isinstance(value, int) else value
                shared = tensor.data_ptr() in seen  # bitsandbytes has one table of 8-bit numbers for all parameters
                tensors[f"{i}.{name}"] = tensor.clone() if shared else tensor
                seen.add(tensor.data_ptr())
        return tensors

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Restore the state that `tensors` returned, bit for bit; torch's own loading would cast it."""
        self.optimizer.state.clear()
        for key, value in tensors.items():
            index, _, name = key.partition(".")
            parameter = self.parameters[int(index)]
            is_count = value.dtype == torch.int64 and value.dim() == 0
            self.optimizer.state[parameter][name] = int(value) if is_count else value.to(parameter.device)
