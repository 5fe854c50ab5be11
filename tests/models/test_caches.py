from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from overopt.models.caches import RecomputedRows, RecurrentCache, extend_again, extend_recurrent


class Sums:
    """A body whose hidden state is the sum of the tokens so far; its cache is the sum, as beam search knows it."""

    def __init__(self) -> None:
        self.sum_N = torch.zeros(1)

    def reorder_cache(self, beams: Tensor) -> None:
        self.sum_N = self.sum_N[beams]

    def forward(self, input_ids: Tensor, use_cache: bool, cache_params: Any = None) -> Any:
        before = 0 if cache_params is None else cache_params.sum_N[:, None]
        total = input_ids.cumsum(1) + before
        cache = Sums()
        cache.sum_N = total[:, -1]
        return SimpleNamespace(last_hidden_state=total[..., None], cache_params=cache)

    __call__ = forward


def test_both_repeat_select_and_go_on() -> None:
    for extend in (extend_recurrent, extend_again):
        hidden, cache = extend(Sums(), torch.tensor([[1, 2], [10, 20]]), None)
        assert hidden[:, -1, 0].tolist() == [3, 30]
        assert isinstance(cache, RecurrentCache | RecomputedRows)
        cache.batch_repeat_interleave(2)
        cache.batch_select_indices(torch.tensor([1, 2, 3]))
        hidden, cache = extend(Sums(), torch.tensor([[5], [6], [7]]), cache)
        assert hidden[..., 0].tolist() == [[8], [36], [37]]
        cache.batch_select_indices(torch.tensor([2]))
        hidden, cache = extend(Sums(), torch.tensor([[1]]), cache)
        assert hidden[..., 0].tolist() == [[38]]
