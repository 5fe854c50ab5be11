from __future__ import annotations

import pytest
import torch
from preferences import from_logits, ranking

from overopt.objectives.pair_losses import Cringe, PairwiseCringe
from overopt.types import PreferenceScores

ROW = torch.tensor([2.0, 1.0, 0.0, -1.0], dtype=torch.float64)


def pair(logits: torch.Tensor = ROW) -> PreferenceScores:
    """The chosen's two tokens are each 2 nats likelier than the rejected's: a margin of 4."""
    return ranking(from_logits([logits.repeat(2, 1)], [[0, 0]]), from_logits([logits.repeat(2, 1)], [[2, 2]]))


def test_the_gate_by_hand() -> None:
    """sigma((1 - 4) / 2) = 0.1824255; without margin and steep it is closed, at the margin it is half open."""
    whole = Cringe()(pair())
    torch.testing.assert_close(PairwiseCringe(margin=1.0, tau=2.0)(pair()), whole * 0.18242552380635635)
    torch.testing.assert_close(PairwiseCringe(margin=4.0)(pair()), whole / 2)
    assert PairwiseCringe(tau=0.1)(pair()).item() == pytest.approx(0, abs=1e-12)


def test_a_gate_may_pass_gradient_or_not() -> None:
    grads = {}
    for gate in ("detached", "differentiable"):
        logits = ROW.clone().requires_grad_()
        PairwiseCringe(margin=4.0, tau=2.0, gate=gate)(pair(logits)).sum().backward()
        grads[gate] = logits.grad
    logits = ROW.clone().requires_grad_()
    Cringe()(pair(logits)).sum().backward()
    assert logits.grad is not None
    torch.testing.assert_close(grads["detached"], logits.grad / 2)
    gap = torch.tensor([2.0, 0.0, -2.0, 0.0], dtype=torch.float64)  # of the margin of sums, in the logits
    torch.testing.assert_close(grads["differentiable"] - grads["detached"], -0.25 / 2 * gap * Cringe()(pair()).item())
