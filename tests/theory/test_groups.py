from __future__ import annotations

from math import log

import pytest
import torch

from overopt.theory import objectives
from overopt.theory.candidates import random_sets, worked_example
from overopt.theory.groups import expected_gradient, reward_gradient


def test_the_expectation_needs_the_leave_one_out_factor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Advantages about the plain mean shrink the gradient by (k-1)/k."""
    c = random_sets()[1]
    assert torch.allclose(expected_gradient(c, 3), reward_gradient(c), atol=1e-15)
    monkeypatch.setattr(objectives, "rloo", lambda reward_PG: reward_PG - reward_PG.mean(-1, keepdim=True))
    assert torch.allclose(expected_gradient(c, 3), reward_gradient(c) * 2 / 3, atol=1e-15)


def test_the_gradient_by_hand() -> None:
    """pi = (1/2, 1/2) and R = (0, log(2)/2): pi (R - E[R])."""
    assert reward_gradient(worked_example()).tolist() == pytest.approx([-log(2) / 8, log(2) / 8])
