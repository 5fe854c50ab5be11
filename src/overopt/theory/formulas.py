"""All formulas that the statements use, in one place, so that a test can replace any of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from overopt.theory import closed_forms, objectives


@dataclass(frozen=True)
class Formulas:
    """The closed forms, and the objectives that training uses."""

    maxent_optimum: Callable[[Tensor, float], Tensor] = closed_forms.maxent_optimum
    log_partition: Callable[[Tensor, float], Tensor] = closed_forms.log_partition
    kl_optimum: Callable[[Tensor, Tensor, float], Tensor] = closed_forms.kl_optimum
    length_normalized_maximizer: Callable[[Tensor, Tensor, float], Tensor] = closed_forms.length_normalized_maximizer
    trained_fixed_point: Callable[[Tensor, Tensor, float], Tensor] = closed_forms.trained_fixed_point
    naive_substitution: Callable[[Tensor, Tensor, float], Tensor] = closed_forms.naive_substitution
    bradley_terry: Callable[[Tensor, Tensor], Tensor] = closed_forms.bradley_terry
    plackett_luce: Callable[[Tensor], Tensor] = closed_forms.plackett_luce
    projection: Callable[[Tensor, float], Tensor] = closed_forms.projection
    maxent_pair_loss: Callable[[Tensor, Tensor, float], Tensor] = closed_forms.maxent_pair_loss
    simpo_gradient: Callable[..., tuple[Tensor, Tensor]] = closed_forms.simpo_gradient
    length_correction: Callable[[Tensor, float], Tensor] = closed_forms.length_correction
    leave_one_out: Callable[[Tensor], Tensor] = closed_forms.leave_one_out

    simpo_loss: Callable[..., Tensor] = objectives.simpo_loss
    simpo_reward: Callable[..., tuple[Tensor, Tensor]] = objectives.simpo_reward
    dpo_loss: Callable[[Tensor, Tensor, Tensor, Tensor, float], Tensor] = objectives.dpo_loss
    ranking_loss: Callable[[Tensor, float], Tensor] = objectives.ranking_loss
    rloo: Callable[[Tensor], Tensor] = objectives.rloo
    entropy_sum: Callable[[Tensor, Tensor, float], Tensor] = objectives.entropy_sum
    entropy_length_normalized: Callable[[Tensor, Tensor, float], Tensor] = objectives.entropy_length_normalized
    entropy_with_correction: Callable[[Tensor, Tensor, float], Tensor] = objectives.entropy_with_correction
