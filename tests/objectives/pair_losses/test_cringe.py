from __future__ import annotations

import pytest
import torch
from preferences import from_logits, ranking

from overopt.objectives.pair_losses import Cringe, PairwiseCringe
from overopt.objectives.pair_losses.cringe import cringe_tokens
from overopt.types import PreferenceScores

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


CRINGE_ROW = torch.tensor([2.0, 1.0, 0.0, -1.0], dtype=torch.float64)


def pairs() -> PreferenceScores:
    """Chosen tokens 0; 0, 0, 0. Rejected 0, 1; 0, 1, 1, 1."""
    chosen = from_logits([CRINGE_ROW.repeat(1, 1), CRINGE_ROW.repeat(3, 1)], [[0], [0, 0, 0]])
    return ranking(chosen, from_logits([CRINGE_ROW.repeat(2, 1), CRINGE_ROW.repeat(4, 1)], [[0, 1], [0, 1, 1, 1]]))


def test_loss_by_hand() -> None:
    """Chosen tokens log(e^2 + e + 1 + 1/e) - 2 = 0.4401897, rejected 1.5320903, 0.4324646; mean lengths 2 and 3."""
    rejected = [(1.5320903 + 0.4324646) / 3, (1.5320903 + 3 * 0.4324646) / 3]
    by_hand = [0.4401897 / 2 + 0.5 * rejected[0], 3 * 0.4401897 / 2 + 0.5 * rejected[1]]
    assert Cringe(cringe_weight=0.5, top_k=2)(pairs()).tolist() == pytest.approx(by_hand, abs=1e-6)
    assert Cringe(cringe_weight=0.0)(pairs()).tolist() == pytest.approx([0.4401897 / 2, 3 * 0.4401897 / 2], abs=1e-6)


def test_rewards_are_means_per_token() -> None:
    chosen_P, rejected_P = Cringe().reward(pairs())
    assert chosen_P.tolist() == pytest.approx([-0.4401897] * 2, abs=1e-6)
    assert rejected_P.tolist() == pytest.approx([-0.4401897 - 1 / 2, -0.4401897 - 3 / 4], abs=1e-6)


PAIRWISE_CRINGE_ROW = torch.tensor([2.0, 1.0, 0.0, -1.0], dtype=torch.float64)


def pair(logits: torch.Tensor = PAIRWISE_CRINGE_ROW) -> PreferenceScores:
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
        logits = PAIRWISE_CRINGE_ROW.clone().requires_grad_()
        PairwiseCringe(margin=4.0, tau=2.0, gate=gate)(pair(logits)).sum().backward()
        grads[gate] = logits.grad
    logits = PAIRWISE_CRINGE_ROW.clone().requires_grad_()
    Cringe()(pair(logits)).sum().backward()
    assert logits.grad is not None
    torch.testing.assert_close(grads["detached"], logits.grad / 2)
    gap = torch.tensor([2.0, 0.0, -2.0, 0.0], dtype=torch.float64)  # of the margin of sums, in the logits
    torch.testing.assert_close(grads["differentiable"] - grads["detached"], -0.25 / 2 * gap * Cringe()(pair()).item())
