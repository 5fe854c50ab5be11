from __future__ import annotations

from typing import Any, get_args

import pytest
import tiny
import torch
from preferences import DenseLogits

from overopt.engine.head import TreeLogps, completion_logps
from overopt.engine.memory import TokenBudget
from overopt.engine.optimizer import SGD, Constant, Optimizer
from overopt.engine.packing import Tree, pack
from overopt.models.policy import Policy
from overopt.objectives.pair_losses import DPO, KTO, Cringe, GammaPO, PairLosses, PairwiseCringe, SimPO
from overopt.objectives.ranking_losses import RankingLosses
from overopt.objectives.state import call, initial_state
from overopt.training.preference_step import PreferenceStep
from overopt.training.reference_logps import Item
from overopt.types import TokenLogits

# --- Gradients: whatever the path and the micro-batches, that of the mean loss over the batch.


def policies() -> tuple[Policy, Policy]:
    """A policy, and a reference far enough from it that no term vanishes."""
    policy, reference = tiny.policy(), tiny.policy()
    with torch.no_grad():
        reference.head.weight.add_(0.1 * torch.linspace(-1, 1, reference.head.weight.numel()).view(-1, 16))
        policy.head.weight.mul_(0.3)
    reference.freeze()
    return policy, reference


def step(loss: Any, policy: Policy, reference: Policy) -> PreferenceStep:
    """Its log-probabilities are those at temperature 0.9."""
    return PreferenceStep(policy, reference, Optimizer(policy.parameters(), SGD(), 0.1, Constant(), 1), loss, 0.9, None)


def items(views: int = 1) -> list[Item]:
    """Other prompts are the first with a token before it."""

    def under(view: int, tree: Tree) -> Tree:
        return Tree([view, *tree.prompt] if view else tree.prompt, tree.completions)

    return [Item([under(view, tree) for view in range(views)]) for tree in tiny.TREES]


def direct_gradient(loss: Any) -> tuple[float, list[torch.Tensor]]:
    """By autograd through one forward of everything."""
    policy, reference = policies()
    batch = step(loss, policy, reference).batch(items(1 + len(loss.prompts)), reference, 1000)
    packed = pack(batch.trees)
    logits_MV = policy.logits(policy.hidden(packed)[packed.source_M]).float() / 0.9
    ranks = [packed.row_M % 2 == rank for rank in range(2)]
    sources = [DenseLogits(TokenLogits(logits_MV[at], packed.token_M[at], packed.row_M[at])) for at in ranks]
    logps = TreeLogps(completion_logps(policy, packed, 0.9), packed.mask_BT)
    sources = sources if "logits" in loss.needs else []
    scores = batch.scores(logps, batch.ref_logp_BT, batch.views, sources)
    mean = call(loss, scores, initial_state(loss))[0].mean()
    mean.backward()
    return float(mean.detach()), [p.grad for p in policy.parameters() if p.grad is not None]


EVERY_LOSS: list[Any] = [cls() for cls in get_args(PairLosses | RankingLosses)]
FAR = [DPO(beta=0.3), KTO(beta=0.3), GammaPO(base="dpo", beta=0.3), PairwiseCringe(gate="differentiable")]


@pytest.mark.parametrize("token_budget", [1, 30, 1000])
@pytest.mark.parametrize("loss", EVERY_LOSS + FAR, ids=lambda loss: type(loss).__name__)
def test_the_gradient_is_that_of_the_whole_batch(loss: Any, token_budget: int) -> None:
    expected, gradients = direct_gradient(loss)
    policy, reference = policies()
    update = step(loss, policy, reference)
    batch = update.batch(items(1 + len(loss.prompts)), reference, token_budget)
    metrics, _ = update.descend(batch, initial_state(loss), token_budget)
    assert metrics["loss"] == pytest.approx(expected, rel=1e-5)
    ours = [p.grad for p in policy.parameters() if p.grad is not None]
    for gradient, other in zip(ours, gradients, strict=True):
        torch.testing.assert_close(gradient, other, atol=1e-6, rtol=1e-4)


def test_kto_s_statistic_is_of_the_whole_batch() -> None:
    """The gradients above are taken where it is above 0 and differs from pair to pair."""
    policy, reference = policies()
    trees = step(KTO(), policy, reference).batch(items(), reference, 1000).trees
    drift = (completion_logps(policy, pack(trees), 0.9) - completion_logps(reference, pack(trees), 0.9)).sum(1)
    drift_P = drift.view(3, 3)[:, 2]
    assert drift_P.mean() > 0 and drift_P.std() > 0
    assert [tree.completions[2] for tree in trees] == [tiny.TREES[i].completions[0] for i in (1, 2, 0)]


def test_replaying_agrees_with_the_separable_path() -> None:
    grads = []
    for separable in (True, False):
        policy, reference = policies()
        update = step(SimPO(alpha=2.0, gamma=0.5), policy, reference)
        batch = update.batch(items(), reference, 30)
        if separable:
            update._each(batch, 30, train=True)
        else:
            update._together(batch, {}, 30, train=True)
        grads.append(torch.cat([p.grad.flatten() for p in policy.parameters() if p.grad is not None]))
    torch.testing.assert_close(grads[0], grads[1], atol=1e-6, rtol=1e-4)


def test_measuring_leaves_no_gradient_and_sees_the_same() -> None:
    for loss in (SimPO(), KTO(), Cringe()):
        policy, reference = policies()
        update = step(loss, policy, reference)
        batch = update.batch(items(), reference, 30)
        seen = update.measure(batch, {}, 30)
        assert all(p.grad is None for p in policy.parameters())
        assert seen == pytest.approx(update.descend(batch, {}, 30)[0], rel=1e-6)


def test_mean_logits_of_both_sides() -> None:
    policy, reference = policies()
    update = step(DPO(), policy, reference)
    chosen, rejected = update._forward(update.batch(items(), reference, 30), 30).sums.means(False)
    sides: list[list[torch.Tensor]] = [[], []]
    for tree in tiny.TREES:
        for side, completion in zip(sides, tree.completions, strict=True):
            with torch.no_grad():
                logits = policy.model(torch.tensor([[*tree.prompt, *completion]])).logits[0]
            side += list(logits[len(tree.prompt) - 1 : -1].mean(-1))
    assert chosen == pytest.approx(float(torch.stack(sides[0]).mean()), abs=1e-5)
    assert rejected == pytest.approx(float(torch.stack(sides[1]).mean()), abs=1e-5)
    with_third = step(KTO(), policy, reference)
    batch = with_third.batch(items(), reference, 30)
    assert with_third._forward(batch, 30).sums.means(True) == pytest.approx((chosen, rejected), abs=1e-5)


def test_memory_that_runs_out_halves_the_budget_and_forgets_the_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The step that failed once after its first micro-batch moves the weights as one that did not."""
    moved, backward = [], torch.Tensor.backward
    for failing in (False, True):
        policy, reference = policies()
        optimizer = Optimizer(policy.parameters(), SGD(), 0.1, Constant(), 1)
        update = PreferenceStep(policy, reference, optimizer, DPO(beta=0.3), 0.9, None)
        calls = [0]

        def too_much(self: torch.Tensor, failing: bool = failing, calls: list[int] = calls) -> None:
            calls[0] += 1
            backward(self)
            if failing and calls[0] == 1:
                raise torch.OutOfMemoryError("CUDA out of memory")

        monkeypatch.setattr(torch.Tensor, "backward", too_much)
        budget = TokenBudget(40)
        metrics, _ = update(items(), {}, 1, budget)
        monkeypatch.setattr(torch.Tensor, "backward", backward)
        assert budget.tokens == (20 if failing else 40) and metrics["lr"] == 0.1
        moved.append(torch.cat([p.detach().flatten() for p in policy.parameters()]))
    torch.testing.assert_close(moved[0], moved[1], atol=1e-7, rtol=1e-5)
