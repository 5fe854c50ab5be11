"""The models that a run starts from: found, loaded, held against the run's limits, and remembered by hash."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch

from overopt.engine.compute import Compute
from overopt.errors import UserError
from overopt.models.adapter import holds_model, pin_of
from overopt.models.body import Body
from overopt.models.folder import tensor_files
from overopt.models.load import adapters_of, load_policy, load_reward_model, model_folder
from overopt.models.policy import Policy
from overopt.models.scorer import Scorer
from overopt.models.text import Codec
from overopt.models.verify import check_limits
from overopt.models.vocabulary import check_reference
from overopt.records import hash_parent, load_run, parent_files
from overopt.training.data import Limits
from overopt.training.run.memory import check_room

M = TypeVar("M", bound=Body)
POLICY_STAGES = ("sft", "online", "offline")


@dataclass
class Parents:
    """Loads the parents of a run. `records` holds what `run.json` says of them."""

    device: torch.device
    compute: Compute
    limits: Limits
    notice: Callable[[str], None]
    trained_bytes: float = 4
    """The least memory for each weight of the model that is trained."""
    records: list[dict[str, Any]] = field(default_factory=list)
    pins: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """What is recorded of a name on the Hub, by its location at a commit."""

    def policy(self, role: str, location: str) -> Policy:
        """The policy of a parent run or a model folder, ready to train."""
        folder = self.folder(role, location, POLICY_STAGES)
        self._check_room(role, folder, 4 if role == "reference" else self.trained_bytes)
        policy = load_policy(folder, self.device, self.compute.bf16)
        self.prepare(policy)
        return policy

    def reference(self, location: str, policy: Policy, dense: bool = False) -> Policy:
        """The frozen reference of a parent run or a model folder, to which the policy's ids mean the same."""
        reference = self.policy("reference", location)
        check_reference(policy, reference, dense)
        reference.freeze()
        return self.at_rest(reference)

    def copy_of(self, policy: Policy) -> Policy:
        """The frozen reference that a policy is to itself, as it is now."""
        reference = policy.frozen_copy()
        return reference if policy.adapter is not None else self.at_rest(reference)

    def at_rest(self, model: M) -> M:
        """A frozen model; with `offload`, out of the GPU's memory. On a CPU there is no other memory."""
        if self.compute.offload == "frozen" and self.device.type != "cpu":
            model.rest()
        return model

    def scorer(self, location: str, codec: Codec) -> Scorer:
        """The frozen reward model of a parent run or a model folder, to score what a policy of this codec writes."""
        folder = self.folder("reward_model", location, ("reward_model",))
        self._check_room("reward_model", folder, 4)
        reward_model = load_reward_model(folder, self.device, self.compute.bf16)
        self.fit(reward_model)
        self.at_rest(reward_model)
        scorer = Scorer(reward_model, codec, self.notice)
        for notice in scorer.notices:
            self.notice(notice)
        return scorer

    def record(self, role: str) -> dict[str, Any]:
        """What `run.json` says of the parent in this role."""
        return next(record for record in self.records if record["role"] == role)

    def prepare(self, policy: Policy) -> None:
        """Hold a policy against the run's limits; checkpoint its layers if `gradient_checkpointing` says so."""
        self.fit(policy)
        if self.compute.gradient_checkpointing == "layers":
            policy.checkpoint_layers()

    def fit(self, model: Body) -> None:
        """Refuse limits beyond the model's positions; beyond its attention window, compute it row by row."""
        check_limits(model, self.limits.prompt, self.limits.completion)

    def folder(self, role: str, location: str, stages: Collection[str]) -> Path:
        """The model folder of a parent: a finished run of one of these stages, or an ordinary model folder."""
        path = model_folder(location)
        folder = path
        if (path / "run.json").is_file():
            folder = _checkpoint(role, path, stages)
        elif not holds_model(path):
            raise UserError(
                f"{role}: {path} is neither a run directory nor a Hugging Face model folder; a model on the Hub is "
                "written OWNER/NAME (or hf://OWNER/NAME, where a folder OWNER lies here)"
            )
        self._record(role, path, self.pins.get(location))
        adapters, base = adapters_of(folder)
        for place in [*(one.path for one in adapters[1:]), *([base] if adapters else [])]:
            role += ".base"
            self._record(role, place, pin_of(str(place)))
        return folder

    def _check_room(self, role: str, folder: Path, bytes_each: float) -> None:
        _, base = adapters_of(folder)
        weights = sum(math.prod(shape) for _, shape in tensor_files(base).values())
        check_room(f"{role}: {base}", weights, bytes_each, self.device)

    def _record(self, role: str, path: Path, pin: Mapping[str, str] | None = None) -> None:
        known = {"role": role, "path": str(path), "hash": hash_parent(path), "files": parent_files(path)}
        self.records.append({**known, **(pin or {})})


def _checkpoint(role: str, path: Path, stages: Collection[str]) -> Path:
    """The checkpoint that a finished run of one of these stages hands on."""
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
    return run.checkpoint()
