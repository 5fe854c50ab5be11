"""Log-probabilities of packed trees against one ordinary Hugging Face forward per sequence."""

from __future__ import annotations

import pytest
import torch
from rounding import rounding
from tiny_models import EOS, Table, plain_logps, tiny_policy

from overopt.engine import head
from overopt.engine.head import (
    ChunkedLogits,
    completion_logps,
    frozen_logits,
    logps_of_trees,
    target_logps,
)
from overopt.engine.packing import Tree, pack
from overopt.models.policy import Policy
from overopt.types import TokenLogits

TREES = [
    Tree([2, 3, 4, 5, 6], [[7, 8, EOS], [9, 9, 9, 10, 11, 12], [EOS]]),  # ended, cut at the limit, ended at once
    Tree([13], [[2, EOS], [2, EOS], [2, 3, 4]]),
    Tree([14, 15, 2, 2, 7, 3, 8, 8, 16], [[5, 5, 5, 5, 5, EOS]]),
    Tree([4, 4], [[], [6, EOS]]),
]
TOLERANCE = 1e-5


@pytest.fixture(scope="module", params=["gpt_neox", "llama"])
def policy(request: pytest.FixtureRequest) -> Policy:
    return tiny_policy(request.param)


def rows(policy: Policy, trees: list[Tree], temperature: float = 1.0, budget: int = 10**6) -> list[list[float]]:
    """The real entries of each row."""
    result = logps_of_trees(policy, trees, temperature, budget)
    assert not result.logp_BT[~result.mask_BT].any()
    return [row[mask].tolist() for row, mask in zip(result.logp_BT, result.mask_BT, strict=True)]


def largest_gap(a: list[list[float]], b: list[list[float]]) -> float:
    assert [len(row) for row in a] == [len(row) for row in b]
    return max(abs(x - y) for left, right in zip(a, b, strict=True) for x, y in zip(left, right, strict=True))


def test_the_tiny_models_are_what_they_say(policy: Policy) -> None:
    config = policy.model.config
    if config.model_type == "llama":
        assert config.num_key_value_heads < config.num_attention_heads
        assert policy.head.weight is policy.model.get_input_embeddings().weight
    spread = torch.tensor(rows(policy, TREES)[1]).std()
    assert spread > 0.3  # their predictions are far from uniform


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_packed_trees_equal_separate_plain_forwards(policy: Policy, temperature: float) -> None:
    plain = [plain_logps(policy, tree.prompt, c, temperature) for tree in TREES for c in tree.completions]
    assert largest_gap(rows(policy, TREES, temperature), plain) < TOLERANCE


def test_neighbors_padding_order_and_micro_batches_change_nothing(policy: Policy) -> None:
    together = rows(policy, TREES)
    alone = [row for tree in TREES for row in rows(policy, [tree])]
    singly = [row for tree in TREES for c in tree.completions for row in rows(policy, [Tree(tree.prompt, [c])])]
    assert largest_gap(together, alone) < TOLERANCE
    assert largest_gap(together, singly) < TOLERANCE
    for budget in (1, 20, 45):
        assert largest_gap(together, rows(policy, TREES, budget=budget)) < TOLERANCE
    turned = rows(policy, [Tree(tree.prompt, tree.completions[::-1]) for tree in TREES[::-1]])
    assert largest_gap(together, turned[::-1]) < TOLERANCE
    padded = rows(policy, [*TREES, Tree([3] * 60, [[4] * 30])])[:-1]
    assert largest_gap(together, padded) < TOLERANCE


def test_micro_batches_give_the_same_rectangle(policy: Policy) -> None:
    whole, parts = (logps_of_trees(policy, TREES, 1.0, budget) for budget in (10**6, 20))
    assert torch.equal(whole.mask_BT, parts.mask_BT)
    assert whole.mask_BT.sum(1).tolist() == [3, 6, 1, 2, 2, 3, 6, 0, 2]
    torch.testing.assert_close(whole.logp_BT, parts.logp_BT, rtol=0, atol=TOLERANCE)


def test_a_completion_does_not_see_its_sibling(policy: Policy) -> None:
    prompt = [2, 3, 4]
    first = rows(policy, [Tree(prompt, [[5, 6], [7, 8]])])
    other = rows(policy, [Tree(prompt, [[9, 10], [7, 8]])])
    assert largest_gap(first[1:], other[1:]) < TOLERANCE
    assert largest_gap(first[:1], other[:1]) > 0.01


def test_prompt_targets_equal_the_whole_sequence(policy: Policy) -> None:
    prompt, completion = [2, 3, 4, 5], [6, 7, EOS]
    packed = pack([Tree(prompt, [completion]), Tree([9] * 8, [[EOS]])], prompt_targets=True)
    with torch.no_grad():
        logp_BT = completion_logps(policy, packed, 1.0)
    whole = plain_logps(policy, prompt[:1], prompt[1:] + completion, 1.0)
    assert logp_BT[0, :6].tolist() == pytest.approx(whole, abs=TOLERANCE)
    assert logp_BT[0, 6:].tolist() == [0.0, 0.0]


def test_gradients_of_a_tree_are_those_of_its_sequences_apart(policy: Policy) -> None:
    def gradients(trees: list[Tree]) -> list[torch.Tensor]:
        total = completion_logps(policy, pack(trees), 0.7).sum()
        return list(torch.autograd.grad(total, policy.parameters(), materialize_grads=True))

    apart = [Tree(tree.prompt, [c]) for tree in TREES for c in tree.completions]
    for together, separate in zip(gradients(TREES), gradients(apart), strict=True):
        assert (together - separate).norm() <= 1e-4 * separate.norm()


def test_a_graph_is_walked_backward_once(policy: Policy) -> None:
    """The probabilities between the passes become the gradient: a second walk would be wrong, so it is refused."""
    packed = pack(TREES)
    total = target_logps(policy, policy.hidden(packed), packed, 0.7).sum()
    total.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="compute them again"):
        total.backward()
    policy.model.zero_grad()


@pytest.mark.parametrize("rows_per_chunk", [1, 3])
def test_a_chunked_head_changes_neither_values_nor_gradients(
    policy: Policy, monkeypatch: pytest.MonkeyPatch, rows_per_chunk: int
) -> None:
    packed = pack(TREES)
    weight_M = torch.linspace(-1, 1, len(packed.token_M))
    seen: list[int] = []
    plain_logits = policy.logits

    def counting(hidden_MD: torch.Tensor) -> torch.Tensor:
        seen.append(len(hidden_MD))
        return plain_logits(hidden_MD)

    def values_and_gradients() -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        logp_M = target_logps(policy, policy.hidden(packed), packed, 0.7)
        gradients = torch.autograd.grad((logp_M * weight_M).sum(), policy.parameters(), materialize_grads=True)
        return logp_M.detach(), gradients

    monkeypatch.setattr(policy, "logits", counting)
    whole, whole_gradients = values_and_gradients()
    assert seen == [len(packed.token_M)]
    seen.clear()
    monkeypatch.setattr(head, "LOGITS_PER_CHUNK", rows_per_chunk * policy.vocabulary)
    parts, part_gradients = values_and_gradients()
    assert max(seen) == rows_per_chunk
    tolerance = rounding(whole, terms=policy.model.config.hidden_size)
    torch.testing.assert_close(parts, whole, rtol=0, atol=tolerance)
    for a, b in zip(part_gradients, whole_gradients, strict=True):
        assert (a - b).norm() <= 1e-5 * b.norm()
    with torch.no_grad():
        torch.testing.assert_close(completion_logps(policy, packed, 0.7), packed.spread(whole), rtol=0, atol=tolerance)


def test_temperature_by_hand() -> None:
    """Odds of 4 to 1 become 16 to 1 at temperature 1/2."""
    table = Table(torch.tensor([[0.8, 0.2], [0.5, 0.5]]))
    tree = Tree([0], [[0, 1], [1, 1]])
    for temperature, likely in ((1.0, 0.8), (0.5, 16 / 17)):
        found = logps_of_trees(table, [tree], temperature, 100).logp_BT.exp().tolist()
        assert found == [pytest.approx([likely, 1 - likely]), pytest.approx([1 - likely, 0.5])]


class Head:
    """Counts the largest piece that is ever made into logits."""

    def __init__(self, policy: Policy) -> None:
        self.policy, self.largest = policy, 0

    def __call__(self, hidden_MD: torch.Tensor) -> torch.Tensor:
        self.largest = max(self.largest, len(hidden_MD))
        return self.policy.logits(hidden_MD)


def statistic(logits: TokenLogits) -> torch.Tensor:
    """Something of everything that a piece carries, token by token."""
    assert logits.old_MV is not None and logits.ref_MV is not None
    new_MV = logits.new_MV.log_softmax(-1)
    drawn_M = new_MV.gather(1, logits.token_M[:, None])[:, 0] * (1 + logits.row_M)
    return drawn_M + (new_MV.exp() * (logits.old_MV - logits.ref_MV)).sum(-1)


def test_logits_by_the_chunk_are_those_in_one_piece(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Value, gradient, and that no chunk is larger than allowed."""
    other = tiny_policy(policy.model.config.model_type, seed=1)
    packed = pack(TREES)

    def run(limit: int) -> tuple[torch.Tensor, list[torch.Tensor], int]:
        monkeypatch.setattr(head, "LOGITS_PER_CHUNK", limit * policy.vocabulary)
        old_head = Head(policy)
        old = frozen_logits(policy, old_head, TREES, 30).at(range(len(TREES)))
        ref = frozen_logits(other, other.logits, TREES, 10**6)
        source = ChunkedLogits(policy, policy.hidden(packed), packed, 0.7, old, ref)
        value_M = source.map(statistic)
        weight_M = torch.linspace(-1, 1, len(value_M))
        gradients = torch.autograd.grad((weight_M * value_M).sum(), policy.parameters(), allow_unused=True)
        return value_M.detach(), [g for g in gradients if g is not None], old_head.largest

    whole, whole_gradients, everything = run(10**6)
    pieces, piece_gradients, largest = run(3)
    assert everything == len(packed.token_M) > 3 == largest
    torch.testing.assert_close(pieces, whole, rtol=0, atol=TOLERANCE)
    for a, b in zip(piece_gradients, whole_gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=TOLERANCE)


def test_a_piece_is_what_one_plain_forward_says(policy: Policy) -> None:
    packed = pack(TREES)
    kept = frozen_logits(policy, policy.logits, TREES, 30)
    source = ChunkedLogits(policy, policy.hidden(packed), packed, 0.7, old=kept)

    def old_logps(logits: TokenLogits) -> torch.Tensor:
        assert logits.ref_MV is None and logits.old_MV is not None
        return logits.old_MV.log_softmax(-1).gather(1, logits.token_M[:, None])[:, 0]

    expected = [x for tree in TREES for c in tree.completions for x in plain_logps(policy, tree.prompt, c, 0.7)]
    assert source.map(old_logps).tolist() == pytest.approx(expected, abs=TOLERANCE)


def test_some_trees_in_some_order(policy: Policy) -> None:
    kept = frozen_logits(policy, policy.logits, TREES, 30)
    sizes = [sum(map(len, tree.completions)) for tree in TREES]
    assert [len(hidden) for hidden in kept.hidden_of_tree] == sizes
    assert [len(hidden) for hidden in kept.at([2, 0]).hidden_of_tree] == [sizes[2], sizes[0]]
    assert not any(hidden.requires_grad for hidden in kept.hidden_of_tree)


@pytest.mark.parametrize("temperature", [1.0, 0.7, 2.0])
def test_gradients_are_those_of_plain_forwards_at_the_temperature(policy: Policy, temperature: float) -> None:
    """One ordinary forward of the Hugging Face model a sequence, and autograd through its whole softmax."""
    packed = pack(TREES)
    total = target_logps(policy, policy.hidden(packed), packed, temperature).sum()
    ours = torch.autograd.grad(total, policy.head.weight)[0]
    plain = torch.zeros(())
    for prompt, completion in [(tree.prompt, c) for tree in TREES for c in tree.completions if c]:
        logits_LV = policy.model(input_ids=torch.tensor([[*prompt, *completion]])).logits[0]
        logp_TV = (logits_LV[len(prompt) - 1 : -1] / temperature).log_softmax(-1)
        plain = plain + logp_TV.gather(1, torch.tensor(completion)[:, None]).sum()
    expected = torch.autograd.grad(plain, policy.head.weight)[0]
    assert (ours - expected).norm() <= 1e-4 * expected.norm()


def test_the_gradient_at_a_temperature_by_hand() -> None:
    """Odds of 1 to 2 are 1 to 4 at temperature 1/2: d logp / d logits = (onehot - p) / T = (-.2, .2) / .5."""
    table = Table(torch.tensor([[1 / 3, 2 / 3], [0.5, 0.5]]))
    packed = pack([Tree([0], [[1]])])
    hidden = table.hidden(packed).requires_grad_()
    logits_MV = table.probability_VV.log()
    target_logps(table, hidden, packed, 0.5).sum().backward()
    expected = torch.tensor([-0.4, 0.4]) @ logits_MV.T  # logits = hidden @ log P
    assert hidden.grad is not None
    torch.testing.assert_close(hidden.grad[0], expected)
