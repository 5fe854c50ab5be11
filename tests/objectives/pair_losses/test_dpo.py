from __future__ import annotations

from math import log

import pytest
import torch
from pydantic import ValidationError

from overopt.objectives.pair_losses import DPO
from overopt.types import PairScores


def scores(chosen: float, rejected: float, ref_chosen: float, ref_rejected: float) -> PairScores:
    def one(value: float) -> torch.Tensor:
        return torch.tensor([value], dtype=torch.float64, requires_grad=True)

    return PairScores(
        chosen_logp_P=one(chosen),
        rejected_logp_P=one(rejected),
        chosen_len_P=torch.tensor([3]),
        rejected_len_P=torch.tensor([5]),
        ref_chosen_logp_P=one(ref_chosen).detach(),
        ref_rejected_logp_P=one(ref_rejected).detach(),
    )


def test_loss_and_rewards_by_hand() -> None:
    batch = scores(-10.0, -12.0, -11.0, -11.5)
    chosen_P, rejected_P = DPO(beta=0.5).reward(batch)
    assert [chosen_P.item(), rejected_P.item()] == [0.5, -0.25]
    assert DPO(beta=0.5)(batch).tolist() == pytest.approx([0.3868711], abs=1e-6)  # log(1 + e^-0.75)


@pytest.mark.parametrize("beta", [0.05, 0.5, 5.0])
def test_at_initialization_the_loss_is_log_2(beta: float) -> None:
    assert DPO(beta=beta)(scores(-10.0, -42.0, -10.0, -42.0)).tolist() == [log(2)]


def test_gradient_by_the_formula() -> None:
    """dL/dl_w = -beta sigma(-beta (D_w - D_l)), and the opposite for the rejected one."""
    batch = scores(-10.0, -12.0, -11.0, -11.5)
    DPO(beta=0.5)(batch).sum().backward()
    assert batch.chosen_logp_P.grad is not None and batch.rejected_logp_P.grad is not None
    weight = 0.5 * 0.3208213  # sigma(-0.75)
    assert batch.chosen_logp_P.grad.item() == pytest.approx(-weight, abs=1e-7)
    assert batch.rejected_logp_P.grad.item() == pytest.approx(weight, abs=1e-7)


def test_sums_count_and_lengths_do_not() -> None:
    batch = scores(-10.0, -12.0, -11.0, -11.5)
    other = scores(-10.0, -12.0, -11.0, -11.5)
    other.chosen_len_P, other.rejected_len_P = torch.tensor([50]), torch.tensor([1])
    assert torch.equal(DPO()(batch), DPO()(other))


def test_beta_and_needs() -> None:
    assert DPO().beta == 0.05
    assert DPO.needs == {"reference"} and DPO.separable
    with pytest.raises(ValidationError):
        DPO(beta=0.0)
