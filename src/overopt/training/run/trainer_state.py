"""What changes while a stage trains: all that a run which goes on must find as it was left."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from overopt.engine.optimizer import Optimizer
from overopt.evaluation.evaluator import Evaluator
from overopt.models.body import Body
from overopt.objectives.state import State

MODEL, OPTIMIZER, RANDOM = "model.", "optimizer.", "random."


@dataclass
class TrainerState:
    """Model, optimizer, position in the data, states of objectives, and the global random streams.

    The position is not saved: `restore` passes over as many batches as there were steps. The draws of overopt itself
    are functions of seed and step; the global streams are for plug-ins.
    """

    model: Body
    optimizer: Optimizer
    stream: Iterator[Any]
    """One batch for each step."""
    evaluator: Evaluator | None = None
    objectives: State = field(default_factory=dict)

    def begin(self, seed: int) -> None:
        """Set the global random streams, so that a plug-in that draws from them can be repeated."""
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)

    def save(self, file: Path, step: int) -> None:
        """Write the tensors. Before the first step they leave out the models, which are their parents'."""
        tensors = {f"{RANDOM}torch": torch.get_rng_state()}
        if torch.cuda.is_available():
            tensors |= {f"{RANDOM}cuda{i}": state for i, state in enumerate(torch.cuda.get_rng_state_all())}
        if step:
            tensors |= {MODEL + name: tensor for name, tensor in self._tensors().items()}
            tensors |= {OPTIMIZER + name: tensor for name, tensor in self.optimizer.tensors().items()}
        save_file({name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}, file)

    def size(self) -> int:
        """About how many bytes `save` takes."""
        return self.model_size() + _bytes(self.optimizer.tensors())

    def model_size(self) -> int:
        return _bytes(self._tensors())

    def document(self) -> dict[str, Any]:
        """The part of the state that is not tensors, as JSON."""
        algorithm, keys, *rest = np.random.get_state()
        return {
            "objectives": self.objectives,
            "baseline_outcomes": None if self.evaluator is None else self.evaluator.baseline_outcomes,
            "random": {"python": random.getstate(), "numpy": [algorithm, np.asarray(keys).tolist(), *rest]},
        }

    def restore(self, step: int, file: Path, document: dict[str, Any]) -> None:
        """Put everything back, in place, and skip as many batches as there were steps."""
        tensors = load_file(file)
        if step:
            self._restore_model(_named(tensors, MODEL))
            self.optimizer.restore(_named(tensors, OPTIMIZER))
        for _ in range(step):
            next(self.stream)
        if self.evaluator is not None:
            self.evaluator.baseline_outcomes = document["baseline_outcomes"]
        self.objectives = document["objectives"]
        _restore_random(_named(tensors, RANDOM), document["random"])

    def _tensors(self) -> dict[str, Tensor]:
        """Trained parameters and buffers by name, a tied one once; a frozen one is its parent's."""
        model = self.model.model
        return {name: p for name, p in model.named_parameters() if p.requires_grad} | dict(model.named_buffers())

    @torch.no_grad()
    def _restore_model(self, saved: dict[str, Tensor]) -> None:
        own = self._tensors()
        if own.keys() != saved.keys():  # a head that kept its first weights would train on silently
            raise ValueError(f"the saved model has other tensors: {sorted(own.keys() ^ saved.keys())[:4]}")
        for name, tensor in own.items():
            if tensor.shape != saved[name].shape or tensor.dtype != saved[name].dtype:
                raise ValueError(f"the saved {name} is of another shape or type")
            tensor.copy_(saved[name])


def _bytes(tensors: dict[str, Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def _named(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _restore_random(tensors: dict[str, Tensor], others: dict[str, Any]) -> None:
    torch.set_rng_state(tensors.pop("torch"))
    if torch.cuda.is_available() and tensors:
        torch.cuda.set_rng_state_all([tensors[f"cuda{i}"] for i in range(len(tensors))])
    version, words, gauss = others["python"]
    random.setstate((version, tuple(words), gauss))
    algorithm, keys, *rest = others["numpy"]
    np.random.set_state((algorithm, np.array(keys, dtype=np.uint32), *rest))
