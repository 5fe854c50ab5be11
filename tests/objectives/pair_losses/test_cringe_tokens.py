from __future__ import annotations

import pytest
import torch
from preferences import from_logits

from overopt.objectives.pair_losses.cringe_tokens import cringe_tokens

LOGITS = torch.tensor([[2.0, 1.0, 0.0, -1.0], [2.0, 1.0, 0.0, -1.0]], dtype=torch.float64)


def test_cost_by_hand() -> None:
    """Token 0 against 1 and 0 (0.7310586, 0.2689414); token 1 against 2 and 0 (0.8807971, 0.1192029)."""
    cost_PT = cringe_tokens(from_logits([LOGITS], [[0, 1]]), top_k=2)
    assert cost_PT.tolist() == [pytest.approx([1.5320903, 0.4324646], abs=1e-6)]
    hardest_PT = cringe_tokens(from_logits([LOGITS], [[0, 1]]), top_k=1)
    assert hardest_PT.tolist() == [pytest.approx([1.3132617, 0.3132617], abs=1e-6)]


def test_padding_costs_nothing_and_few_words_are_no_obstacle() -> None:
    cost_PT = cringe_tokens(from_logits([LOGITS, LOGITS[:1]], [[0, 1], [3]]), top_k=50)
    assert cost_PT.shape == (2, 2) and cost_PT[1, 1] == 0
    assert bool(cost_PT.isfinite().all()) and float(cost_PT[1, 0]) > 0


def test_it_is_the_mean_over_the_draw_with_its_gradient() -> None:
    """Each of the k candidates drawn in turn, weighted by its probability, which is held constant."""
    logits = LOGITS[:1].clone().requires_grad_()
    cost = cringe_tokens(from_logits([logits], [[1]]), top_k=3).sum()
    (ours,) = torch.autograd.grad(cost, logits)
    others = [0, 2, 3]
    share = LOGITS[0, others].softmax(0)
    drawn = [-torch.log_softmax(logits[0, [other, 1]], 0)[0] for other in others]
    grads = [torch.autograd.grad(d, logits)[0] for d in drawn]
    assert cost.item() == pytest.approx(sum(float(p * d.detach()) for p, d in zip(share, drawn, strict=True)))
    torch.testing.assert_close(ours, sum(p * g for p, g in zip(share, grads, strict=True)))
