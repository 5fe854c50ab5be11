"""How many calls lie between a stage's loop and what it is about: a reader follows each of them in an editor.

`pytest -s tests/test_call_walk.py` prints every walk.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import overopt

SOURCE = str(Path(overopt.__file__).parent) + os.sep
TINY = {"task": {"name": "miniature"}, "max_completion_tokens": 8, "compute": {"device": "cpu", "threads": 1}}

ONLINE = {
    "sample_in_batches": 7,  # completions of the prompts at hand
    "Scorer.score": 8,  # the reward model's score
    "logps_of_trees": 7,  # log-probabilities under the reference
    "KL.__call__": 3,  # a regularizer's equation
    "RLOO.__call__": 3,  # an advantage's equation
    "PPOClip.__call__": 6,  # a policy loss's equation
    "Optimizer.step": 3,
}
"""The most calls from the loop of an online run to each of these."""

OFFLINE = {
    "logps_of_trees": 6,  # log-probabilities under the reference
    "DPO.__call__": 9,  # a pair loss's equation
    "Optimizer.step": 2,
}
"""The same of an offline run."""

Walk = list[str]


def walks(work: Callable[[], Any], loop: str, goals: Mapping[str, int]) -> dict[str, Walk]:
    """The longest walk from the function `loop` to each goal while `work` runs: `FILE FUNCTION`, the loop first."""
    stack: list[tuple[str, str]] = []
    found: dict[str, Walk] = {}

    def follow(frame: FrameType, event: str, _: Any) -> None:
        file = frame.f_code.co_filename
        if event not in ("call", "return") or not file.startswith(SOURCE):
            return
        if event == "return":
            if stack:
                stack.pop()
            return
        name = frame.f_code.co_qualname
        stack.append((file.removeprefix(SOURCE), name))
        if name not in goals:
            return
        names = [name for _, name in stack]
        if loop in names:
            walk = [f"{file} {name}" for file, name in stack[names.index(loop) :] if not name.endswith("comp>")]
            if not any(evaluated(step) for step in walk):
                found[name] = max(walk, found.get(name, []), key=len)

    before = sys.getprofile()
    sys.setprofile(follow)
    try:
        work()
    finally:
        sys.setprofile(before)
    return found


def evaluated(step: str) -> bool:
    """Whether a walk leads through an evaluation or the check before the first step: these are no part of a step."""
    return step.startswith("evaluation/") or "sampler_gap" in step


def check(found: Mapping[str, Walk], goals: Mapping[str, int]) -> None:
    for goal, walk in found.items():
        print(f"\n{goal}: {len(walk) - 1} calls, at most {goals[goal]}", *walk, sep="\n  ")
    assert found.keys() == goals.keys(), "a function was renamed: say so above"
    too_far = {goal: len(walk) - 1 for goal, walk in found.items() if len(walk) - 1 > goals[goal]}
    assert not too_far, "a step has become harder to follow; `pytest -s` prints the walks"


@pytest.fixture(scope="module")
def parents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The folders of an SFT policy and of a reward model, both of one step."""
    folder = tmp_path_factory.mktemp("parents")
    model = {"name": "scratch", "architecture": "gpt_neox", "hidden_size": 16, "layers": 1, "heads": 1}
    sft = {"stage": "sft", "model": model, "steps": 1, "batch_size": 8, "lr": 1e-3}
    overopt.train({**TINY, **sft}, folder / "sft", notice=lambda text: None)
    pairs = {"name": "sampled", "count": 32, "temperatures": [1.0], "label_scale": 2.0}
    reward_model = {"stage": "reward_model", "policy": str(folder / "sft"), "pairs": pairs, "batch_size": 16}
    overopt.train({**TINY, **reward_model}, folder / "reward_model", notice=lambda text: None)
    return {"policy": str(folder / "sft"), "reward_model": str(folder / "reward_model")}


def test_an_online_step_is_followed_in_few_calls(parents: dict[str, str], tmp_path: Path) -> None:
    batch = {"total_episodes": 16, "episodes_per_update": 16, "samples_per_prompt": 4}
    config = {**TINY, **parents, **batch, "stage": "online", "regularizers": [{"name": "kl", "coef": 0.2}]}
    check(walks(lambda: overopt.train(config, tmp_path, notice=lambda text: None), "train_online", ONLINE), ONLINE)


def test_an_offline_step_is_followed_in_few_calls(parents: dict[str, str], tmp_path: Path) -> None:
    pairs = {"name": "run", "path": parents["reward_model"]}
    config = {**TINY, "policy": parents["policy"], "pairs": pairs, "stage": "offline", "batch_size": 16, "steps": 1}
    check(walks(lambda: overopt.train(config, tmp_path, notice=lambda text: None), "train_offline", OFFLINE), OFFLINE)
