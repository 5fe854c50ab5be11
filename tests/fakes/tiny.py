"""The smallest chain that runs all stages: configurations of a miniature task for models of 16 units."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from overopt.engine.packing import Tree
from overopt.models.load import Scratch
from overopt.models.policy import Policy
from overopt.records import Run
from overopt.tasks import Miniature
from overopt.training.train import train

Config = dict[str, Any]

TASK = {
    "name": "miniature",
    "demonstration_count": 256,
    "prompt_count": 32,
    "reward_test_count": 32,
    "evaluation_count": 16,
}
MODEL = {"name": "scratch", "hidden_size": 16, "layers": 1, "heads": 2}
SHARED = {"task": TASK, "compute": {"device": "cpu", "threads": 1}, "max_completion_tokens": 24}


@dataclass(frozen=True)
class Chain:
    """A fine-tuned policy and the reward model trained on its pairs, as run directories."""

    policy: Path
    reward_model: Path


def make_chain(folder: Path) -> Chain:
    """Sixty steps of SFT (then most completions end) and four of the reward model."""
    torch.set_num_threads(1)
    chain = Chain(folder / "sft", folder / "reward-model")
    train(sft(steps=60, lr=2e-2, checkpoint_every=60), chain.policy)
    train(reward_model(chain), chain.reward_model)
    return chain


def sft(**changes: Any) -> Config:
    settings = {"stage": "sft", "model": MODEL, "lr": 1e-2, "steps": 3, "batch_size": 16, "loss_on_prompt": False}
    return SHARED | settings | {"schedule": "constant", "checkpoint_every": 3} | changes


def reward_model(chain: Chain, **changes: Any) -> Config:
    settings = {"stage": "reward_model", "policy": str(chain.policy), "pairs": {"name": "sampled", "count": 64}}
    return SHARED | settings | {"lr": 1e-2, "batch_size": 16, "normalization": "standardize"} | changes


def online(chain: Chain, **changes: Any) -> Config:
    """Three updates of 8 episodes: 4 prompts, twice."""
    settings = {"stage": "online", "policy": str(chain.policy), "reward_model": str(chain.reward_model), "lr": 1e-3}
    sizes = {"total_episodes": 24, "episodes_per_update": 8, "samples_per_prompt": 2, "epochs": 2, "minibatches": 2}
    return SHARED | settings | sizes | {"checkpoint_every": 3} | changes


def offline(chain: Chain, **changes: Any) -> Config:
    """Four updates of 16 pairs: one pass."""
    settings = {"stage": "offline", "policy": str(chain.policy), "reward_model": str(chain.reward_model), "lr": 1e-3}
    pairs = {"name": "run", "path": str(chain.reward_model)}
    return SHARED | settings | {"pairs": pairs, "batch_size": 16, "checkpoint_every": 4} | changes


def metrics(run: Run) -> bytes:
    """The record of the steps, to the last bit."""
    return (run.path / "metrics.jsonl").read_bytes()


def rows(run: Run) -> list[dict[str, Any]]:
    return list(run.iter_metrics())


def weights(run: Run) -> dict[str, torch.Tensor]:
    return load_file(run.checkpoint() / "model.safetensors")


def same_weights(a: Run, b: Run) -> bool:
    first, second = weights(a), weights(b)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def farthest(a: Run, b: Run) -> float:
    """The largest difference of two runs' weights."""
    first, second = weights(a), weights(b)
    return max(float((first[name] - second[name]).abs().max()) for name in first)


def close(a: float | None, b: float | None, tolerance: float = 1e-4) -> bool:
    return a is not None and b is not None and abs(a - b) <= tolerance * max(1.0, abs(a), abs(b))


def policy(architecture: str = "gpt_neox", **extra: Any) -> Policy:
    """Random weights, over the miniature's words."""
    settings = Scratch(architecture=architecture, hidden_size=16, layers=2, heads=2, init_std=0.3, extra=extra)
    return settings.build(Miniature().vocabulary(), 0, torch.device("cpu"), False)


TREES = [
    Tree([3, 4, 5, 6], [[20, 21, 1], [22, 1]]),
    Tree([7, 8], [[23, 24, 25, 26, 27, 1], [28]]),
    Tree([9, 10, 11, 12, 13, 14], [[29, 30, 1], [31, 32, 33, 34, 1]]),
]
"""Three prompts with two completions each, of all lengths; one of them does not end."""


def write_jsonl(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path
