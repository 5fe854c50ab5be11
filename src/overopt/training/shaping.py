"""Shapes rewards: coefficients in force, the bonus of the regularizers, and the sum of score and bonus by group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from overopt.config import name_of
from overopt.objectives.controllers import choose_coefficient, varies
from overopt.objectives.regularizers import RewardRegularizer
from overopt.objectives.state import State, initial_state
from overopt.training.probes import numbered
from overopt.types import Rewards, Rollouts


def initial_coefficients(regularizers: Sequence[Any]) -> list[State]:
    """The states of the regularizers' coefficients before the first step."""
    return [initial_state(regularizer.coef) for regularizer in regularizers]


def coefficients(
    regularizers: Sequence[Any], rollouts: Rollouts, states: Sequence[State]
) -> tuple[list[float], list[State]]:
    """The coefficients in force for these rollouts, and the states of their controllers afterwards."""
    moved = [choose_coefficient(r.coef, rollouts, state) for r, state in zip(regularizers, states, strict=True)]
    return [coef for coef, _ in moved], [state for _, state in moved]


def coefficient_metrics(regularizers: Sequence[Any], coefs: Sequence[float], name: str) -> dict[str, float]:
    """Those coefficients that a controller moves, as `NAME_INDEX`."""
    return {f"{name}_{i}": coef for i, (r, coef) in enumerate(zip(regularizers, coefs, strict=True)) if varies(r.coef)}


def bonus(regularizers: Sequence[RewardRegularizer], coefs: Sequence[float], rollouts: Rollouts) -> Tensor:
    """The sum of the regularizers in the reward, detached; `[B]`."""
    bonus_B = torch.zeros_like(rollouts.score_B)
    for regularizer, coef in zip(regularizers, coefs, strict=True):
        bonus_B = bonus_B + regularizer(rollouts, coef)
    return bonus_B


def shape(rollouts: Rollouts, bonus_B: Tensor, greedy_P: Tensor | None = None) -> Rewards:
    """Shaped rewards by group; `greedy_P` are those of greedy completions, if the advantage needs them."""
    return Rewards(
        reward_PG=(rollouts.score_B + bonus_B).view(-1, rollouts.group_size),
        length_PG=rollouts.length_B.view(-1, rollouts.group_size),
        greedy_P=greedy_P,
    )


def loss_regularizer_names(regularizers: Sequence[Any]) -> list[str]:
    """A name in the record for each regularizer in the loss: its own, numbered from the second of a kind on."""
    return numbered([f"loss/{name_of(type(regularizer))}" for regularizer in regularizers])
