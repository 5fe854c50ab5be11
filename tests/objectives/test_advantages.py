from __future__ import annotations

import json

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from overopt.config import name_of
from overopt.objectives.advantages import OPO, RLOO, GroupMean, GroupNormalized, ReinforcePP, ReMax, RunningBaseline
from overopt.objectives.state import call, initial_state
from overopt.types import Rewards


def rloo(reward_PG: torch.Tensor) -> torch.Tensor:
    return RLOO()(Rewards(reward_PG, torch.ones_like(reward_PG)))


def rewards_of(rows: list[list[float]], lengths: list[list[int]] | None = None) -> Rewards:
    reward_PG = torch.tensor(rows, dtype=torch.float64)
    length_PG = torch.ones(reward_PG.shape, dtype=torch.long) if lengths is None else torch.tensor(lengths)
    return Rewards(reward_PG, length_PG)


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


def test_rloo_one_sample_has_no_baseline() -> None:
    assert RLOO.minimum_samples == 2
    with pytest.raises(ValueError, match="at least 2 completions"):
        rloo(torch.ones(3, 1))


def test_group_mean_by_hand() -> None:
    assert GroupMean()(rewards_of([[1.0, 2.0, 6.0], [0.5, 0.5, -1.0]])).tolist() == [
        [-2.0, -1.0, 3.0],
        [0.5, 0.5, -1.0],
    ]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-10, 10), min_size=2, max_size=6), st.floats(-100, 100))
def test_a_shift_changes_nothing_and_it_is_rloo_scaled(row: list[float], shift: float) -> None:
    advantage_PG = GroupMean()(rewards_of([row]))
    torch.testing.assert_close(GroupMean()(rewards_of([[r + shift for r in row]])), advantage_PG, rtol=0, atol=1e-10)
    group = len(row)
    torch.testing.assert_close(advantage_PG, (group - 1) / group * RLOO()(rewards_of([row])), rtol=1e-9, atol=1e-10)


def test_group_mean_one_sample_has_no_baseline() -> None:
    assert GroupMean.minimum_samples == 2
    with pytest.raises(ValueError, match="GroupMean needs at least 2"):
        GroupMean()(rewards_of([[1.0]]))


def test_group_normalized_by_hand() -> None:
    """Deviations -1, 0, 1 of a sample standard deviation of 1; two rewards 2 apart have sqrt(2)."""
    advantage_PG = GroupNormalized(eps=1e-12)(rewards_of([[1.0, 2.0, 3.0]]))
    assert advantage_PG.tolist() == [pytest.approx([-1.0, 0.0, 1.0])]
    advantage_PG = GroupNormalized(eps=0.5)(rewards_of([[1.0, 3.0]]))
    assert advantage_PG.tolist() == [pytest.approx([-1 / (2**0.5 + 0.5), 1 / (2**0.5 + 0.5)])]


def test_group_normalized_equal_rewards_have_no_advantage() -> None:
    """Up to rounding of the mean, which eps keeps small."""
    assert GroupNormalized()(rewards_of([[0.7, 0.7, 0.7], [0.0, 0.0, 0.0]])).abs().max() < 1e-9


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-10, 10), min_size=2, max_size=6), st.floats(-5, 5), st.floats(0.5, 20))
def test_shift_and_scale_change_nothing(row: list[float], shift: float, scale: float) -> None:
    assume(max(row) - min(row) > 0.1)
    advantage_PG = GroupNormalized(eps=1e-12)(rewards_of([row]))
    moved_PG = GroupNormalized(eps=1e-12)(rewards_of([[scale * r + shift for r in row]]))
    torch.testing.assert_close(moved_PG, advantage_PG, rtol=1e-6, atol=1e-8)


def test_group_normalized_bad_settings() -> None:
    assert name_of(GroupNormalized) == "grpo"
    for eps in (0.0, -1e-4):
        with pytest.raises(ValidationError, match="eps"):
            GroupNormalized(eps=eps)
    with pytest.raises(ValueError, match="at least 2"):
        GroupNormalized()(rewards_of([[1.0]]))


def one_prompt(*row: float) -> Rewards:
    return rewards_of([list(row)])


def test_running_baseline_by_hand() -> None:
    """Baselines 1, then 0.5 * 1 + 0.5 * 3 = 2, then 0.5 * 2 + 0.5 * 0 = 1."""
    baseline = RunningBaseline(decay=0.5, initial=1.0)
    state = initial_state(baseline)
    first, state = call(baseline, one_prompt(2.0, 4.0), state)
    second, state = call(baseline, one_prompt(0.0), state)
    assert first.tolist() == [[1.0, 3.0]]
    assert second.tolist() == [[-2.0]]
    assert state == {"baseline": 1.0}


def test_a_batch_is_never_in_its_own_baseline() -> None:
    """Else the gradient would be biased: the advantage moves one for one with the reward."""
    baseline = RunningBaseline()
    low, _ = baseline(one_prompt(1.0, 5.0), {"baseline": 0.3})
    high, _ = baseline(one_prompt(2.0, 6.0), {"baseline": 0.3})
    assert (high - low).tolist() == [[1.0, 1.0]]


def test_it_converges_to_the_mean_of_constant_rewards_and_its_state_is_json() -> None:
    baseline = RunningBaseline(decay=0.9)
    state = initial_state(baseline)
    for _ in range(200):
        advantage, state = call(baseline, one_prompt(3.0, 3.0), json.loads(json.dumps(state)))
    assert advantage.abs().max() < 1e-8


def test_running_baseline_bad_settings() -> None:
    for decay in (-0.1, 1.0):
        with pytest.raises(ValidationError, match="decay"):
            RunningBaseline(decay=decay)
    assert RunningBaseline.minimum_samples == 1


def test_completions_by_hand() -> None:
    """Mean 3, variance (4 + 0 + 1 + 9) / 3, whatever the prompts."""
    advantage_PG = ReinforcePP(weight="completion", eps=1e-12)(rewards_of([[1.0, 3.0], [2.0, 6.0]]))
    spread = (14 / 3) ** 0.5
    assert advantage_PG.tolist() == [pytest.approx([-2 / spread, 0.0]), pytest.approx([-1 / spread, 3 / spread])]


def test_tokens_by_hand() -> None:
    """Tokens 0, 0, 0, 4: mean 1, variance 12 / 3."""
    advantage_PG = ReinforcePP(eps=1e-12)(rewards_of([[0.0, 4.0]], [[3, 1]]))
    assert advantage_PG.tolist() == [pytest.approx([-0.5, 1.5])]


def test_tokens_are_whitened_as_if_each_were_written_out() -> None:
    lengths = [[3, 1], [2, 5]]
    row = [[0.3, -1.2], [2.0, 0.4]]
    token = torch.tensor(
        [r for rs, ls in zip(row, lengths, strict=True) for r, n in zip(rs, ls, strict=True) for _ in range(n)]
    )
    mean, std = float(token.mean()), float(token.std())
    expected = [pytest.approx([(r - mean) / std for r in rs], rel=1e-5) for rs in row]
    assert ReinforcePP()(rewards_of(row, lengths)).tolist() == expected


def test_reinforce_pp_equal_rewards_have_no_advantage() -> None:
    assert ReinforcePP()(rewards_of([[0.5, 0.5], [0.5, 0.5]], [[1, 2], [3, 4]])).abs().max() < 1e-9


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-10, 10), min_size=2, max_size=8), st.floats(-5, 5), st.floats(0.5, 20))
def test_shift_scale_and_order_change_nothing(row: list[float], shift: float, scale: float) -> None:
    assume(max(row) - min(row) > 0.1)
    whiten = ReinforcePP(eps=1e-12)
    advantage_PG = whiten(rewards_of([row]))
    moved_PG = whiten(rewards_of([[scale * r + shift for r in row]]))
    torch.testing.assert_close(moved_PG, advantage_PG, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(whiten(rewards_of([row[::-1]])).flip(1), advantage_PG)
    torch.testing.assert_close(whiten(rewards_of([[r] for r in row])).flatten(), advantage_PG.flatten())


def test_a_batch_of_one_has_no_spread() -> None:
    assert ReinforcePP.minimum_batch == 2
    with pytest.raises(ValueError, match="ReinforcePP needs at least 2 completions in a batch"):
        ReinforcePP()(rewards_of([[1.0]]))


def test_remax_by_hand() -> None:
    reward_PG = torch.tensor([[1.0, 2.0], [0.0, -1.0]])
    rewards = Rewards(reward_PG, torch.ones_like(reward_PG), greedy_P=torch.tensor([1.5, -1.0]))
    assert ReMax()(rewards).tolist() == [[-0.5, 0.5], [1.0, 0.0]]


def test_one_sample_will_do() -> None:
    assert ReMax.minimum_samples == 1
    assert ReMax()(Rewards(torch.tensor([[2.0]]), torch.ones(1, 1), torch.tensor([0.5]))).tolist() == [[1.5]]


def test_without_greedy_rewards_it_says_so() -> None:
    assert ReMax.needs == {"greedy"}
    with pytest.raises(ValueError, match="greedy"):
        ReMax()(Rewards(torch.zeros(1, 1), torch.ones(1, 1)))


def with_lengths(row: list[float], lengths: list[int]) -> Rewards:
    return rewards_of([row], [lengths])


def test_opo_by_hand() -> None:
    """Baseline (1 * 2 + 3 * 6) / 4 = 5."""
    assert OPO()(with_lengths([2.0, 6.0], [1, 3])).tolist() == [[-3.0, 1.0]]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(-10, 10), st.integers(1, 50)), min_size=2, max_size=6), st.floats(-100, 100))
def test_weighted_by_length_the_advantages_sum_to_zero_and_ignore_a_shift(
    samples: list[tuple[float, int]], shift: float
) -> None:
    row, lengths = [r for r, _ in samples], [n for _, n in samples]
    advantage_PG = OPO()(with_lengths(row, lengths))
    assert float((advantage_PG * torch.tensor(lengths)).sum()) == pytest.approx(0, abs=1e-9)
    moved_PG = OPO()(with_lengths([r + shift for r in row], lengths))
    torch.testing.assert_close(moved_PG, advantage_PG, rtol=0, atol=1e-10)


def test_with_equal_lengths_it_is_the_group_mean() -> None:
    batch = with_lengths([0.3, -2.0, 5.0], [7, 7, 7])
    torch.testing.assert_close(OPO()(batch), GroupMean()(batch))


def test_opo_one_sample_has_no_baseline() -> None:
    assert OPO.minimum_samples == 2
    with pytest.raises(ValueError, match="OPO needs at least 2"):
        OPO()(with_lengths([1.0], [3]))


def test_empty_completions_weigh_nothing() -> None:
    assert OPO()(with_lengths([1.0, 2.0], [0, 0])).tolist() == [[1.0, 2.0]]
