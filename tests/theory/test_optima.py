from __future__ import annotations

from math import log

import pytest
from float64 import numbers

from overopt.theory import closed_forms
from overopt.theory.optima import entropy_objective, kl, t1


def test_kl_by_hand() -> None:
    """1/2 log(1/2 / 1/4) + 1/2 log(1/2 / 3/4)."""
    assert float(kl(numbers(0.5, 0.5).log(), numbers(0.25, 0.75).log())) == pytest.approx(0.5 * log(4 / 3))


def test_the_objective_by_hand() -> None:
    """E[r] = 3/2, H = log 2."""
    assert float(entropy_objective(numbers(0.5, 0.5).log(), numbers(1, 2), 0.5)) == pytest.approx(1.5 + 0.5 * log(2))


def test_an_optimum_that_is_slightly_off_is_beaten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Temperature 1 permille too high: no identity is needed to see it, a random policy does better."""
    optimum = closed_forms.maxent_optimum
    monkeypatch.setattr(closed_forms, "maxent_optimum", lambda reward, alpha: optimum(reward, 1.001 * alpha))
    beaten = next(check for check in t1() if check.id == "T1.b")
    assert not beaten.holds
    assert beaten.residual == pytest.approx(4e-7, rel=0.9)
