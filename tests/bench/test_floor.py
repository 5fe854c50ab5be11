"""FLOPs of passes counted by hand, and what becomes of them at given rates."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from floor import Flops, Rates, at, decoding, floor, forward, measure, places

from overopt.planning.work import Shape

SHAPE = Shape(parameters=0, linear=96, head=0, hidden=2, layers=2, vocabulary=5, key_width=4)
"""Two layers of 12 * 2^2 = 48 parameters, 8 of them for keys and values."""
TREES = [(3, [2, 1])]
BATCH = [(3, [2, 1]), (5, [4, 7, 1]), (2, [1, 1])]


def same_everywhere(rate: float) -> Rates:
    return Rates(rate, rate, rate, rate, {1: rate, 2: rate}, {1: rate, 2: rate})


def test_a_prompt_is_read_once_and_a_last_token_never() -> None:
    assert places(TREES) == (3 + 1, 2)  # the prompt's last place predicts for both


def test_a_forward_pass_counted_by_hand() -> None:
    # First layer: 4 places; second: keys and values of 4, the rest of 2. Attention: 1 + 2 + 3 in the prompt and 4 for
    # the completion's first token, then 3 and 4 for the two that predict.
    linear = 2 * (48 * 4 + 8 * 4 + 40 * 2)
    assert forward(SHAPE, TREES) == Flops(linear, 4 * 2 * (6 + 4 + 3 + 4), 2 * 2 * 5 * 2)


def test_decoding_makes_a_pass_for_each_further_token() -> None:
    assert decoding(SHAPE, TREES) == [(1, Flops(2 * 96, 4 * 2 * 2 * 4, 2 * 2 * 5))]
    assert [rows for rows, _ in decoding(SHAPE, BATCH)] == [3, 2, 2, 1, 1, 1]


def test_sampling_multiplies_as_much_as_a_pass_over_its_trees() -> None:
    prompts, whole = forward(SHAPE, [(p, [1]) for p, _ in BATCH]), forward(SHAPE, BATCH)
    steps = [flops for _, flops in decoding(SHAPE, BATCH)]
    assert prompts.body + sum(f.body for f in steps) == whole.body
    assert prompts.head + sum(f.head for f in steps) == whole.head


def test_the_floor_counts_each_pass_as_often_as_it_is_made() -> None:
    flops = forward(SHAPE, BATCH)
    one = (flops.body + flops.head) / 10
    passes = {"sampling": 1, "reference": 1, "update": 1, "kl_prev": 0.25}
    expected = {"sampling": one, "reference": one, "update": 3 * one, "kl_prev": one / 4}
    assert floor(SHAPE, same_everywhere(10), BATCH, passes) == pytest.approx(expected)
    assert floor(SHAPE, same_everywhere(10), BATCH, {"reference": 0, "update": 1}) == pytest.approx(
        {"reference": 0, "update": 3 * one}
    )


def test_rates_between_measured_rows_are_those_of_linear_seconds() -> None:
    rate = {1: 10.0, 4: 40.0, 8: 40.0}  # a tenth of a second for 1 and 4 rows, a fifth for 8
    assert at(rate, 1) == 10
    assert at(rate, 2) == pytest.approx(20)
    assert at(rate, 6) == pytest.approx(40)
    assert at(rate, 100) == 40


def test_rates_are_measured_for_a_models_own_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.base_model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Linear(8, 4))
            self.head = torch.nn.Linear(4, 10)

        def get_output_embeddings(self) -> Any:
            return self.head

    monkeypatch.setattr("floor.LEAST_SECONDS", 0.0)
    rates = measure(Model(), BATCH)
    assert set(rates.decoding) == set(rates.head_decoding) == {1, 2, 4, 7}
    assert min(rates.forward, rates.backward, rates.head_forward, rates.head_backward, rates.decoding[1]) > 0
