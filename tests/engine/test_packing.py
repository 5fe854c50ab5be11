from __future__ import annotations

import pytest
import torch

from overopt.engine.packing import Tree, micro_batches, pack, row_ranges

TREES = [Tree([5, 6], [[7, 1], [8]]), Tree([9], [[2, 3, 4]])]


def test_layout_by_hand() -> None:
    packed = pack(TREES)
    assert packed.ids_N.tolist() == [5, 6, 7, 1, 8, 9, 2, 3, 4]
    assert packed.positions_N.tolist() == [0, 1, 2, 3, 2, 0, 1, 2, 3]
    assert packed.attention.sizes == [5, 4]
    assert packed.attention.segment_N.tolist() == [0, 0, 1, 1, 2, 0, 1, 1, 1]
    assert packed.source_M.tolist() == [1, 2, 1, 5, 6, 7]
    assert packed.token_M.tolist() == [7, 1, 8, 2, 3, 4]
    assert packed.row_M.tolist() == [0, 0, 1, 2, 2, 2]
    assert packed.column_M.tolist() == [0, 1, 0, 0, 1, 2]
    assert packed.last_B.tolist() == [3, 4, 8]
    assert packed.width == 3


def test_spread_puts_values_at_their_places() -> None:
    packed = pack(TREES)
    assert packed.spread(packed.token_M).tolist() == [[7, 1, 0], [8, 0, 0], [2, 3, 4]]
    assert packed.mask_BT.tolist() == [[True, True, False], [True, False, False], [True, True, True]]
    values_M = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], requires_grad=True)
    spread_BT = packed.spread(values_M)
    assert spread_BT.tolist() == [[1, 2, 0], [3, 0, 0], [4, 5, 6]]
    spread_BT.sum(1)[1].backward()
    assert values_M.grad is not None
    assert values_M.grad.tolist() == [0, 0, 1, 0, 0, 0]


def test_an_empty_completion_keeps_its_row_and_reads_at_the_prompt() -> None:
    packed = pack([Tree([5, 6], [[], [7]])])
    assert packed.mask_BT.tolist() == [[False], [True]]
    assert packed.last_B.tolist() == [1, 2]
    alone = pack([Tree([5, 6], [[]])])
    assert alone.mask_BT.shape == (1, 0)


def test_prompt_targets_by_hand() -> None:
    packed = pack([Tree([5, 6, 7], [[8, 1]]), Tree([9], [[2]])], prompt_targets=True)
    assert packed.spread(packed.token_M).tolist() == [[6, 7, 8, 1], [2, 0, 0, 0]]
    assert packed.source_M.tolist() == [0, 1, 2, 3, 5]
    assert packed.last_B.tolist() == [4, 6]
    assert packed.width == 4


def test_prompt_targets_take_one_completion() -> None:
    with pytest.raises(ValueError, match="one completion"):
        pack(TREES, prompt_targets=True)


def test_micro_batches_hold_whole_trees_in_order_within_the_budget() -> None:
    trees = [Tree([0] * n, [[0]]) for n in (3, 1, 1, 9, 2, 2, 30, 1)]  # sizes 4 2 2 10 3 3 31 2
    assert list(micro_batches(trees, token_budget=12)) == [[0, 1, 2], [3], [4, 5], [6], [7]]
    assert list(micro_batches(trees, token_budget=10**6)) == [list(range(8))]
    assert list(micro_batches(trees, token_budget=1)) == [[i] for i in range(8)]
    assert list(micro_batches([], token_budget=12)) == []


def test_row_ranges() -> None:
    assert row_ranges([*TREES, Tree([1], [])]) == [range(2), range(2, 3), range(3, 3)]


def test_a_micro_batch_may_be_as_large_as_the_budget() -> None:
    trees = [Tree([0] * prompt, [[0] * size]) for prompt, size in ((1, 3), (6, 2), (5, 7), (1, 1))]  # sizes 4 8 12 2
    assert list(micro_batches(trees, token_budget=12)) == [[0, 1], [2], [3]]
    assert list(micro_batches(trees, token_budget=11)) == [[0], [1], [2], [3]]
