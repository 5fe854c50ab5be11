from __future__ import annotations

import pytest
from preferences import ranking, sums, token_gradients

from overopt.objectives.pair_losses import Hinge


def test_loss_and_gradient_by_hand() -> None:
    """Log-ratio gaps 3 and -3 at beta 0.2, and 3 at beta 0.5, which is past the hinge."""
    chosen, rejected = sums([-6.0, -6.0], [3, 1], [-7.0, -7.0]), sums([-8.0, -2.0], [2, 2], [-6.0, -6.0])
    loss_P = Hinge(beta=0.2)(ranking(chosen, rejected))
    assert loss_P.tolist() == pytest.approx([1 - 0.6, 1 + 0.6])
    loss_P.sum().backward()
    assert token_gradients(chosen) == [pytest.approx([-0.2] * 3), pytest.approx([-0.2])]
    assert token_gradients(rejected) == [pytest.approx([0.2] * 2), pytest.approx([0.2] * 2)]
    assert Hinge(beta=0.5)(ranking(chosen, rejected)).tolist() == pytest.approx([0.0, 2.5])


def test_at_initialization_it_is_one() -> None:
    same = sums([-6.0], [3], [-6.0])
    assert Hinge()(ranking(same, same)).tolist() == [1.0]
