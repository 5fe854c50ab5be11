from __future__ import annotations

import pytest
import torch

from overopt.objectives.advantages import RLOO
from overopt.types import Rewards


def rloo(reward_PG: torch.Tensor) -> torch.Tensor:
    return RLOO()(Rewards(reward_PG, torch.ones_like(reward_PG)))


def random_rewards(prompts: int, group: int) -> torch.Tensor:
    return torch.randn(prompts, group, dtype=torch.float64, generator=torch.Generator().manual_seed(group))


def test_two_samples_by_hand() -> None:
    """Each one's baseline is the other: plus and minus R1 - R2."""
    reward_PG = torch.tensor([[3.0, 1.0], [-1.0, 0.5], [2.0, 2.0]])
    assert rloo(reward_PG).tolist() == [[2.0, -2.0], [-1.5, 1.5], [0.0, 0.0]]


def test_four_samples_by_hand() -> None:
    """Baselines of 1, 2, 3, 6 are 11/3, 10/3, 3, 2."""
    advantage_PG = rloo(torch.tensor([[1.0, 2.0, 3.0, 6.0]], dtype=torch.float64))
    assert advantage_PG.tolist() == [pytest.approx([-8 / 3, -4 / 3, 0.0, 4.0])]


@pytest.mark.parametrize("group", [2, 3, 4, 8])
def test_leave_one_out_is_scaled_mean_centering(group: int) -> None:
    reward_PG = random_rewards(5, group)
    centered_PG = reward_PG - reward_PG.mean(1, keepdim=True)
    torch.testing.assert_close(rloo(reward_PG), group / (group - 1) * centered_PG)


@pytest.mark.parametrize("group", [2, 3, 4, 8])
def test_advantages_of_a_prompt_sum_to_zero_and_ignore_a_shift(group: int) -> None:
    reward_PG = random_rewards(5, group)
    advantage_PG = rloo(reward_PG)
    torch.testing.assert_close(advantage_PG.sum(1), torch.zeros(5, dtype=torch.float64))
    shift_P1 = torch.tensor([[-3.0], [0.0], [1.0], [10.0], [100.0]], dtype=torch.float64)
    torch.testing.assert_close(rloo(reward_PG + shift_P1), advantage_PG)


def test_the_baseline_of_a_sample_does_not_contain_its_own_reward() -> None:
    reward_PG = random_rewards(1, 4).requires_grad_()
    rloo(reward_PG)[0, 0].backward()
    assert reward_PG.grad is not None
    assert reward_PG.grad.tolist() == [pytest.approx([1.0, -1 / 3, -1 / 3, -1 / 3])]


def test_prompts_do_not_mix() -> None:
    reward_PG = random_rewards(3, 4)
    torch.testing.assert_close(rloo(reward_PG)[1:2], rloo(reward_PG[1:2]), rtol=0, atol=0)


def test_one_sample_has_no_baseline() -> None:
    assert RLOO.minimum_samples == 2
    with pytest.raises(ValueError, match="at least 2 completions"):
        rloo(torch.ones(3, 1))
