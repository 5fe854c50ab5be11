from __future__ import annotations

from dataclasses import replace

import pytest

from overopt.theory import closed_forms
from overopt.theory.candidates import worked_example
from overopt.theory.preferences import implicit_reward, t9


def test_the_implicit_reward_is_the_reward_up_to_a_constant() -> None:
    c = replace(worked_example(), temperature=0.3)
    difference = implicit_reward(c) - c.reward_N
    assert float(difference[0]) == pytest.approx(float(difference[1]), abs=1e-15)


def test_the_sign_of_the_margin_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Summed over both orders of each pair the error would cancel."""
    gradient = closed_forms.simpo_gradient
    monkeypatch.setattr(closed_forms, "simpo_gradient", lambda *numbers: gradient(*numbers[:-1], -numbers[-1]))
    assert [check.holds for check in t9()] == [True, False, False]
