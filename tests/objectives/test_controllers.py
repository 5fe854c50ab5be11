from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from overopt.objectives.controllers import AdaptiveKL, current
from overopt.objectives.state import initial_state
from overopt.types import Rollouts


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
    assert current(0.3, rollouts_with_kl(50.0), {}) == (0.3, {})
    assert current(0, rollouts_with_kl(50.0), {}) == (0.0, {})


def test_a_controller_is_driven_through_the_same_two_functions() -> None:
    controller = AdaptiveKL(initial=0.2, target=6.0, horizon=10.0)
    state = initial_state(controller)
    assert state == {"coef": 0.2}
    coef, state = current(controller, rollouts_with_kl(12.0), state)
    assert coef == 0.2
    assert state["coef"] == pytest.approx(0.2 * 1.02)


@pytest.mark.parametrize("field", ["initial", "target", "horizon"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_meaningless_settings_are_refused(field: str, value: float) -> None:
    with pytest.raises(ValidationError):
        AdaptiveKL(**{field: value})
