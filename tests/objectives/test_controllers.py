from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from overopt.config import block, load
from overopt.errors import ConfigError
from overopt.objectives.controllers import (
    AdaptiveKL,
    Coefficient,
    Cosine,
    Fixed,
    Linear,
    NonNegativeCoefficient,
    TargetEntropy,
    choose_coefficient,
    varies,
)
from overopt.objectives.state import initial_state
from overopt.types import Rollouts


def rollouts_at(progress: float) -> Rollouts:
    """Rollouts of the update before which this share of the run's updates was made."""
    logp_BT = torch.zeros(2, 1)
    return Rollouts(logp_BT, logp_BT == 0, torch.zeros(2), 2, 1.0, progress=progress)


def rollouts_with_entropy(entropy: float) -> Rollouts:
    """Three tokens whose exact entropies have this mean."""
    mask_BT = torch.tensor([[True, True], [True, False]])
    entropy_BT = torch.tensor([[entropy, 2 * entropy], [0.0, 0.0]])
    return Rollouts(torch.zeros(2, 2), mask_BT, torch.zeros(2), 2, 1.0, entropy_BT=entropy_BT)


def rollouts_with_kl(*kl: float) -> Rollouts:
    """One row for each KL, spread over two tokens."""
    logp_BT = torch.tensor([[k - 1.0, 1.0] for k in kl])
    return Rollouts(
        logp_BT=logp_BT,
        mask_BT=torch.ones_like(logp_BT, dtype=torch.bool),
        score_B=torch.zeros(len(kl)),
        group_size=len(kl),
        temperature=1.0,
        ref_logp_BT=torch.zeros_like(logp_BT),
    )


def test_adaptive_kl_by_hand() -> None:
    controller = AdaptiveKL(initial=0.5, target=6.0, horizon=40.0)
    state = controller.init()
    seen = []
    for kl in [(5.0, 7.0), (6.3, 6.9), (20.0, 100.0), (0.0, -1.0)]:
        coef, state = controller(rollouts_with_kl(*kl), state)
        seen.append(coef)
    seen.append(state["coef"])
    # errors 0, 0.1, 0.2 (cut from 9), -0.2 (cut from -13/12); two episodes of a horizon of 40
    assert seen == pytest.approx([0.5, 0.5, 0.5025, 0.507525, 0.50244975], rel=1e-6)


def test_adaptive_kl_does_not_change_the_state_it_is_given() -> None:
    controller = AdaptiveKL()
    state = controller.init()
    controller(rollouts_with_kl(50.0, 50.0), state)
    assert state == {"coef": 0.2}


def test_a_plain_number_stays_and_has_no_state() -> None:
    assert initial_state(0.3) == {}
    assert choose_coefficient(0.3, rollouts_with_kl(50.0), {}) == (0.3, {})
    assert choose_coefficient(0, rollouts_with_kl(50.0), {}) == (0.0, {})


def test_a_controller_is_driven_through_the_same_two_functions() -> None:
    controller = AdaptiveKL(initial=0.2, target=6.0, horizon=10.0)
    state = initial_state(controller)
    assert state == {"coef": 0.2}
    coef, state = choose_coefficient(controller, rollouts_with_kl(12.0), state)
    assert coef == 0.2
    assert state["coef"] == pytest.approx(0.2 * 1.02)


@pytest.mark.parametrize("field", ["initial", "target", "horizon"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_meaningless_settings_are_refused(field: str, value: float) -> None:
    with pytest.raises(ValidationError):
        AdaptiveKL(**{field: value})


def test_fixed_is_a_number_with_a_name() -> None:
    assert choose_coefficient(Fixed(value=0.3), rollouts_at(0.5), {}) == (0.3, {})
    assert not varies(0.3) and not varies(Fixed()) and varies(Linear()) and varies(AdaptiveKL())


@pytest.mark.parametrize(
    ("progress", "linear", "cosine"),
    [
        (0.0, 0.4, 0.4),
        (0.125, 0.3, 0.4 - 0.4 * (0.5 - 0.5 * 0.5**0.5)),
        (0.25, 0.2, 0.2),
        (0.5, 0.0, 0.0),
        (0.9, 0.0, 0.0),
    ],
)
def test_schedules_by_hand(progress: float, linear: float, cosine: float) -> None:
    """From 0.4 to 0 over half of the run; half a cosine is at (1 + cos(pi/4)) / 2 after a quarter of its way."""
    assert Linear(initial=0.4, until=0.5)(rollouts_at(progress)) == pytest.approx(linear)
    assert Cosine(initial=0.4, until=0.5)(rollouts_at(progress)) == pytest.approx(cosine)


def test_schedules_may_rise_and_change_sign() -> None:
    assert Linear(initial=-0.2, final=0.2)(rollouts_at(0.5)) == pytest.approx(0.0)
    assert Cosine(initial=-0.2, final=0.2)(rollouts_at(0.5)) == pytest.approx(0.0)
    assert Linear(initial=0.0, final=1.0)(rollouts_at(0.75)) == pytest.approx(0.75)


def test_target_entropy_by_hand() -> None:
    """Half a nat below the target at rate 0.2: times exp(0.1), at the next batch; above it, divided."""
    controller = TargetEntropy(target=1.5, initial=0.1, rate=0.2)
    state = initial_state(controller)
    seen = []
    for entropy in (1.0, 1.5, 2.0):
        coef, state = controller(rollouts_with_entropy(entropy), state)
        seen.append(coef)
    assert [*seen, state["coef"]] == pytest.approx([0.1, 0.1 * math.exp(0.1), 0.1 * math.exp(0.1), 0.1])


def test_target_entropy_moves_by_bounded_steps_between_its_bounds() -> None:
    controller = TargetEntropy(target=1.0, initial=0.1, rate=100.0, minimum=0.01, maximum=0.5)
    _, up = controller(rollouts_with_entropy(0.1), {"coef": 0.1})
    _, top = controller(rollouts_with_entropy(0.1), up)
    _, down = controller(rollouts_with_entropy(9.0), {"coef": 0.02})
    assert up["coef"] == pytest.approx(0.1 * math.e)
    assert (top["coef"], down["coef"]) == (0.5, 0.01)
    with pytest.raises(ValueError, match="no entropies"):
        controller(rollouts_at(0.0), up)


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        *[(kind, "until", value) for kind in (Linear, Cosine) for value in (0.0, 1.1)],
        *[(TargetEntropy, field, 0.0) for field in ("target", "initial", "rate", "minimum", "maximum")],
    ],
)
def test_meaningless_schedules_are_refused(kind: Any, field: str, value: float) -> None:
    with pytest.raises(ValidationError, match=field):
        kind(**{field: value})


@block
class Holder:
    """Something with both kinds of coefficient."""

    any: Coefficient = 0.1
    divergence: NonNegativeCoefficient = 0.2


def test_a_number_or_a_controller_by_name() -> None:
    holder = load(Holder, {"any": -1, "divergence": {"name": "adaptive_kl", "target": 2.0}})
    assert holder.any == -1 and holder.divergence == AdaptiveKL(target=2.0)
    assert load(Holder, {"any": "linear"}).any == Linear()
    assert load(Holder, {"any": {"name": "fixed", "value": 3}}).any == Fixed(value=3.0)


@pytest.mark.parametrize(
    "value", [-0.5, {"name": "linear", "initial": 1.0, "final": -0.5}, {"name": "fixed", "value": -0.5}]
)
def test_a_divergence_with_a_negative_coefficient_is_refused_by_its_field(value: Any) -> None:
    with pytest.raises(ConfigError, match="divergence: .*must be >= 0, got -0.5"):
        load(Holder, {"divergence": value})
