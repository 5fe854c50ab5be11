from __future__ import annotations

import pytest
import tiny
import torch

from overopt.engine.head import logps_of_trees
from overopt.engine.packing import Tree, pack
from overopt.models.properties import LogitMap


def test_log_probabilities_are_those_of_the_plain_model() -> None:
    policy = tiny.policy()
    for temperature in (1.0, 0.7):
        ours = logps_of_trees(policy, tiny.TREES, temperature, 10_000)
        row = 0
        for tree in tiny.TREES:
            for completion in tree.completions:
                with torch.no_grad():
                    logits = policy.model(torch.tensor([[*tree.prompt, *completion]])).logits[0] / temperature
                start = len(tree.prompt) - 1
                expected = logits.log_softmax(-1)[range(start, start + len(completion)), completion]
                torch.testing.assert_close(ours.logp_BT[row, : len(completion)], expected, atol=1e-5, rtol=1e-5)
                assert ours.logp_BT[row, len(completion) :].eq(0).all()
                row += 1


def test_padding_and_neighbors_change_no_log_probability() -> None:
    policy = tiny.policy("llama")
    together = logps_of_trees(policy, tiny.TREES, 0.7, 10_000).logp_BT
    apart = [logps_of_trees(policy, [Tree(t.prompt, [c])], 0.7, 1).logp_BT for t in tiny.TREES for c in t.completions]
    for row, alone in zip(together, apart, strict=True):
        torch.testing.assert_close(row[: alone.shape[1]], alone[0], atol=1e-5, rtol=0)


def test_the_cache_continues_where_the_prompt_ended() -> None:
    policy = tiny.policy()
    ids, real = torch.tensor([[3, 4, 5, 20]]), torch.ones(1, 4, dtype=torch.bool)
    with torch.no_grad():
        whole, _ = policy.extend(ids, torch.arange(4)[None], real, None)
        _, cache = policy.extend(ids[:, :3], torch.arange(3)[None], real[:, :3], None)
        last, _ = policy.extend(ids[:, 3:], torch.tensor([[3]]), real, cache)
    torch.testing.assert_close(last[:, 0], whole[:, 3], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("bias", [False, True])
def test_mean_logit_is_the_mean_of_the_logits(bias: bool) -> None:
    policy = tiny.policy()
    if bias:
        policy.head.bias = torch.nn.Parameter(torch.linspace(-1, 2, policy.vocabulary))
    hidden = policy.hidden(pack(tiny.TREES))
    torch.testing.assert_close(policy.mean_logit(hidden), policy.logits(hidden).mean(-1), atol=1e-5, rtol=1e-5)


def test_a_frozen_copy_stays_when_the_policy_moves() -> None:
    policy = tiny.policy()
    before = logps_of_trees(policy, tiny.TREES, 1.0, 1000).logp_BT
    reference = policy.frozen_copy()
    with torch.no_grad():
        policy.head.weight.mul_(2.0)
    assert torch.equal(logps_of_trees(reference, tiny.TREES, 1.0, 1000).logp_BT, before)
    assert not torch.equal(logps_of_trees(policy, tiny.TREES, 1.0, 1000).logp_BT, before)
    assert not any(p.requires_grad for p in reference.parameters()) and all(
        p.requires_grad for p in policy.parameters()
    )


def test_a_frozen_head_stays_when_the_policy_moves() -> None:
    policy = tiny.policy()
    hidden = policy.hidden(pack(tiny.TREES)).detach()
    before, head = policy.logits(hidden).detach(), policy.frozen_head()
    with torch.no_grad():
        policy.head.weight.mul_(2.0)
    assert torch.equal(head(hidden), before)
    assert not torch.equal(policy.logits(hidden), before)
    assert not head(hidden).requires_grad


def test_the_mean_of_capped_logits_is_taken_after_the_cap() -> None:
    policy = tiny.policy()
    policy.logit_map = LogitMap(scale=3.0, cap=0.5)
    hidden = policy.hidden(pack(tiny.TREES))
    raw = policy.head(hidden)
    torch.testing.assert_close(policy.mean_logit(hidden), (0.5 * (6.0 * raw).tanh()).mean(-1), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(policy.frozen_head()(hidden), 0.5 * (6.0 * raw).tanh(), atol=1e-6, rtol=1e-5)
