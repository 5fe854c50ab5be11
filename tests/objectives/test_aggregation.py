from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from overopt.objectives.aggregation import Aggregation, aggregate
from overopt.types import PolicyUpdate

ALL: list[Aggregation] = ["sequence_sum", "sequence_mean", "token_mean", "fixed_length"]
LOSS = torch.tensor([[1.0, 2.0, 6.0], [4.0, 0.0, 0.0]], dtype=torch.float64)
MASK = torch.tensor([[True, True, True], [True, False, False]])


def update(mask_BT: torch.Tensor = MASK, mean_len: float = 0.0, max_len: int = 0) -> PolicyUpdate:
    zero_BT = torch.zeros(mask_BT.shape, dtype=torch.float64)
    return PolicyUpdate(zero_BT, zero_BT, mask_BT, zero_BT[:, 0], mean_len=mean_len, max_len=max_len)


@pytest.mark.parametrize(
    ("aggregation", "rows"),
    [
        ("sequence_sum", [9.0, 4.0]),
        ("sequence_mean", [3.0, 4.0]),
        ("token_mean", [4.5, 2.0]),  # mean length 2
        ("fixed_length", [1.8, 0.8]),  # limit 5
    ],
)
def test_rows_by_hand(aggregation: Aggregation, rows: list[float]) -> None:
    assert aggregate(LOSS, update(max_len=5), aggregation).tolist() == pytest.approx(rows)


def test_the_mean_over_rows_is_what_the_name_says() -> None:
    assert float(aggregate(LOSS, update(), "token_mean").mean()) == pytest.approx(13 / 4)  # all tokens alike
    assert float(aggregate(LOSS, update(), "sequence_mean").mean()) == pytest.approx((9 / 3 + 4) / 2)


@pytest.mark.parametrize("aggregation", ALL)
def test_parts_of_a_minibatch_add_up_to_the_whole(aggregation: Aggregation) -> None:
    whole_B = aggregate(LOSS, update(max_len=5), aggregation)
    parts = [
        aggregate(LOSS[i : i + 1], update(MASK[i : i + 1], mean_len=2.0, max_len=5), aggregation) for i in range(2)
    ]
    assert torch.equal(torch.cat(parts), whole_B)


@settings(max_examples=30, deadline=None)
@given(padding=st.integers(0, 4), aggregation=st.sampled_from(ALL))
def test_padding_adds_nothing(padding: int, aggregation: Aggregation) -> None:
    wide = (0, padding)
    padded_B = aggregate(
        torch.nn.functional.pad(LOSS, wide), update(torch.nn.functional.pad(MASK, wide), max_len=5), aggregation
    )
    assert torch.equal(padded_B, aggregate(LOSS, update(max_len=5), aggregation))


@pytest.mark.parametrize("aggregation", ALL)
def test_an_empty_completion_is_zero(aggregation: Aggregation) -> None:
    empty = update(torch.zeros(2, 3, dtype=torch.bool))
    assert aggregate(torch.zeros(2, 3), empty, aggregation).tolist() == [0.0, 0.0]
