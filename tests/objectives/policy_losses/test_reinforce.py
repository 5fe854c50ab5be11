from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_updates import gradient, random_update, rows, with_logp
from pydantic import ValidationError

from overopt.objectives.policy_losses import PPOClip, Reinforce
from overopt.types import PolicyUpdate


def test_by_hand() -> None:
    logp_BT = torch.tensor([[-1.0, -2.0], [-0.5, 0.0]])
    mask_BT = torch.tensor([[True, True], [True, False]])
    batch = PolicyUpdate(logp_BT, logp_BT, mask_BT, torch.tensor([2.0, -1.0]))
    assert Reinforce()(batch).tolist() == [6.0, -0.5]
    assert Reinforce(aggregation="sequence_mean")(batch).tolist() == [3.0, -0.5]
    assert Reinforce().clipped(batch) is None


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_its_gradient_is_minus_the_advantage_on_every_token(seed: int) -> None:
    batch = random_update([3, 1, 2], seed)
    slope_BT = gradient(lambda logp_BT: Reinforce()(with_logp(batch, logp_BT)).sum(), batch.logp_BT)
    torch.testing.assert_close(slope_BT * batch.mask_BT, -batch.advantage_B[:, None] * batch.mask_BT)


def test_on_policy_it_descends_as_the_clipped_loss_does() -> None:
    batch = random_update([3, 1, 2])
    batch.old_logp_BT = batch.logp_BT
    plain = gradient(lambda x: Reinforce()(with_logp(batch, x)).sum(), batch.logp_BT)
    clipped = gradient(lambda x: PPOClip()(with_logp(batch, x)).sum(), batch.logp_BT)
    torch.testing.assert_close(plain * batch.mask_BT, clipped * batch.mask_BT)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=4).filter(any), st.integers(0, 3), st.integers(0, 100))
def test_padding_and_row_order_change_nothing(widths: list[int], padding: int, seed: int) -> None:
    batch = random_update(widths, seed)
    torch.testing.assert_close(Reinforce()(random_update(widths, seed, padding)), Reinforce()(batch))
    order = list(range(len(widths)))[::-1]
    torch.testing.assert_close(Reinforce()(rows(batch, order)), Reinforce()(batch)[order])


def test_an_unknown_aggregation_is_refused() -> None:
    with pytest.raises(ValidationError, match="aggregation"):
        Reinforce(aggregation="mean")


def test_an_impossible_token_is_infinite_so_that_the_run_stops() -> None:
    impossible = torch.tensor([[-torch.inf]])
    batch = PolicyUpdate(impossible, torch.zeros(1, 1), torch.ones(1, 1, dtype=torch.bool), torch.ones(1))
    assert Reinforce()(batch).tolist() == [torch.inf]
