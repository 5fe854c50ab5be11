"""Reward models with a head of their own: how their configuration and weights are read as a classifier of one label.

The published ones are a causal model's body and one linear map, wrapped by a class of their trainer's:

- the N+ recipe's `ScalarModel` (Huang et al. 2024): `lm_backbone.*`, `scalar_head`, the body's configuration in
  `base_config`, and a `bias` that is subtracted from every score, so that demonstrations score 0 on average;
- TRL's and LLaMA-Factory's value head `v_head.summary`, in a file of its own or among the weights;
- OpenRLHF's `value_head` or `score`, with the `mean` and `std` of scores in the configuration;
- Open-Assistant's `out_proj`, with `pooling: last`.

All are read in the same way: the head is the only linear map of one row under one of these names, and the body lies
wherever its embedding does.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from overopt.errors import UserError
from overopt.models.folder import read_json, tensor_files

Files = dict[str, tuple[Path, tuple[int, ...]]]
"""The file and the shape of each tensor, by name."""
STANDARD, SCORE = "score", "score.weight"
"""The head of a classifier of transformers."""
HEADS = (
    "scalar_head",
    "v_head.summary",
    "v_head",
    "value_head",
    "reward_head",
    "score_head",
    "rm_head",
    "regression_head",
    "out_proj",
)
"""Names of other heads, without the names of modules around them."""


@dataclass(frozen=True)
class RewardHead:
    """How a folder's head is read: score(h) = (weight @ h + bias - mean) / scale."""

    name: str = STANDARD
    """The head's name in the file, without `.weight`."""
    weight: Tensor | None = None
    """`[1, D]`; None: transformers loads it."""
    bias: float = 0.0
    mean: float | None = None
    """What the folder says is to be subtracted from scores; None: it says nothing."""
    scale: float = 1.0

    @property
    def names(self) -> frozenset[str]:
        """The weights of the folder that are read here, not by transformers."""
        return frozenset() if self.weight is None else frozenset({f"{self.name}.weight", f"{self.name}.bias"})

    @property
    def fills(self) -> frozenset[str]:
        """The weights of the model that come from here."""
        return frozenset() if self.weight is None else frozenset({SCORE})

    def put_on(self, model: Any, folder: Path) -> None:
        """Give a classifier of transformers this head, and tell `RewardModel` of it by `model.reward_head`."""
        model.reward_head = self
        linear = getattr(model, STANDARD, None)
        if self.weight is None or not isinstance(linear, nn.Linear):
            return
        if self.weight.shape != linear.weight.shape:
            ours, theirs = tuple(linear.weight.shape), tuple(self.weight.shape)
            raise UserError(f"{folder}: its head {self.name} is {theirs}, and a score of this model takes {ours}")
        with torch.no_grad():
            linear.weight.copy_(self.weight)
        if self.bias:
            linear.bias = nn.Parameter(linear.weight.new_tensor([self.bias]))


def read_head(folder: Path) -> RewardHead:
    """The head of a reward model's folder, whose weights were checked; UserError if there are several."""
    files = tensor_files(folder)
    name = _head_name(folder, files)
    mean, scale = _recorded(folder)
    biased = f"{name}.bias" in files
    if files.get(f"{name}.weight", (folder, ()))[1][:1] != (1,) or (name == STANDARD and not biased):
        return RewardHead(mean=mean, scale=scale)
    bias = float(_tensor(files, f"{name}.bias")) if biased else 0.0
    return RewardHead(name, _tensor(files, f"{name}.weight"), bias, mean, scale)


def renaming(folder: Path, body: str, prefix: str) -> dict[str, str]:
    """The pattern of the body's names in the folder and what transformers puts in its place; empty if they agree.

    `body` is the name of one weight within the body, `prefix` the name that transformers gives the body.
    """
    fronts = {name.removesuffix(body) for name in tensor_files(folder) if f".{name}".endswith(f".{body}")}
    if len(fronts) != 1 or fronts <= {"", f"{prefix}."}:
        return {}
    return {f"^{re.escape(fronts.pop())}": f"{prefix}."}


def _head_name(folder: Path, files: Files) -> str:
    if SCORE in files:
        return STANDARD
    endings = tuple(f".{head}.weight" for head in HEADS)
    found = [
        name.removesuffix(".weight")
        for name, (_, shape) in sorted(files.items())
        if f".{name}".endswith(endings) and shape[:1] == (1,)
    ]
    if len(found) > 1:
        raise UserError(f"{folder}: has {len(found)} heads of one output: {', '.join(found)}; keep the reward's only")
    return found[0] if found else STANDARD


def _tensor(files: Files, name: str) -> Tensor:
    from safetensors import safe_open

    with safe_open(files[name][0], "pt") as file:
        tensor: Tensor = file.get_tensor(name)
    return tensor.float()


def _recorded(folder: Path) -> tuple[float | None, float]:
    """The mean and the scale of scores in the folder's configuration; ours is read by `RewardModel`."""
    config = read_json(folder / "config.json")
    if isinstance(config.get("base_config"), dict) and "bias" in config:
        return _number(folder, config, "bias"), 1.0
    if "normalize_reward" in config and "mean" in config:
        scale = _number(folder, config, "std") if "std" in config else 1.0
        if scale <= 0:
            raise UserError(f"{folder}/config.json: std is {scale:g}, and scores cannot be divided by that")
        return _number(folder, config, "mean"), scale
    return None, 1.0


def _number(folder: Path, config: dict[str, Any], name: str) -> float:
    value = config[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UserError(f"{folder}/config.json: {name} is {value!r}, not the number that scores are shifted by")
    return float(value)
