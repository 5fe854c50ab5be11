"""Reward functions of the user, in addition to a reward model or instead of one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from overopt.config import Function, block
from overopt.engine import ranks
from overopt.models.scorer import check_finite
from overopt.tasks.functions import check_columns, score
from overopt.training.probes import numbered
from overopt.types import Completion, PromptRecord

MODEL = "reward/reward_model"


@block
class RewardFunction:
    """A function that scores completions, `fn(prompts, completions, **columns) -> list[float]`, and its weight.

    `rewards: [my_module:fn]` is short for `rewards: [{name: my_module:fn, weight: 1.0}]`.
    """

    short_for: ClassVar[str] = "name"

    name: Function
    """`my_module:fn`."""
    weight: float = 1.0


def check_rewards(rewards: Sequence[RewardFunction], records: Sequence[PromptRecord]) -> None:
    """Raise UserError if a function asks for a column that the records do not have."""
    for i, reward in enumerate(rewards):
        check_columns(reward.name, f"rewards.{i}", records)


def add_rewards(
    rewards: Sequence[RewardFunction],
    score_B: Tensor,
    records: Sequence[PromptRecord],
    completions: Sequence[Completion],
    modeled: bool,
) -> tuple[Tensor, dict[str, float]]:
    """The score with the weighted rewards added, and the mean of each part of the sum before its weight, by name.

    `modeled`: the score so far is a reward model's. No part is listed where there is only one, the reward model.
    """
    means: dict[str, float] = {}
    if rewards and modeled:
        means[MODEL] = float(score_B.mean())
    for i, (reward, name) in enumerate(zip(rewards, metric_names(rewards), strict=True)):
        address = f"rewards.{i}"
        value_B = torch.tensor(ranks.on_main(partial(score, reward.name, address, records, completions))).to(score_B)
        check_finite(value_B, f"{address}: {reward.name}", "bound what it returns")
        means[name] = float(value_B.mean())
        score_B = score_B + reward.weight * value_B
        check_finite(score_B, f"{address}: {reward.name}, times its weight {reward.weight:g},", "lower the weight")
    return score_B, means


def metric_names(rewards: Sequence[RewardFunction]) -> list[str]:
    """`reward/fn` for each; from the second of a name on, numbered."""
    return numbered([MODEL, *(f"reward/{reward.name.rpartition(':')[2]}" for reward in rewards)])[1:]
