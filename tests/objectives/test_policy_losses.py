from __future__ import annotations

import math
from math import exp, log

import policy_updates as finite
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_updates import differences, gradient, random_update, rows, with_logp
from pydantic import ValidationError
from torch import Tensor

from overopt.objectives.policy_losses import (
    CISPO,
    GSPO,
    LCO,
    MAX_LOG_RATIO,
    PPOClip,
    PPOClipToken,
    Reinforce,
    ratio,
    surrogates,
)
from overopt.types import PolicyUpdate, TokenLogits


def test_ratios_are_finite_however_far_the_policy_has_moved() -> None:
    values = ratio(torch.tensor([0.0, math.log(2.0), -math.inf, 500.0]))
    assert values[:3].tolist() == pytest.approx([1.0, 2.0, 0.0])
    assert float(values[3]) == pytest.approx(math.exp(MAX_LOG_RATIO), rel=1e-5)


def test_both_sides_of_the_range() -> None:
    advantage, ratios = torch.tensor([2.0, 2.0, -2.0]), torch.tensor([0.5, 1.5, 1.1])
    plain, clipped = surrogates(advantage, ratios, 0.2, 0.3)
    assert plain.tolist() == pytest.approx([-1.0, -3.0, 2.2])
    assert clipped.tolist() == pytest.approx([-1.6, -2.6, 2.2])
    assert surrogates(advantage, ratios, 0.2, None)[1].tolist() == pytest.approx([-1.6, -2.4, 2.2])


def ppo_clip_update(log_ratio: list[float], advantage: list[float]) -> PolicyUpdate:
    """Rows of two tokens whose sequence log-ratio is as given; the second token is padding in the last row."""
    old_BT = torch.tensor([[-1.0, -2.0]] * len(log_ratio), dtype=torch.float64)
    mask_BT = torch.ones_like(old_BT, dtype=torch.bool)
    old_BT[-1, 1] = 0.0
    mask_BT[-1, 1] = False
    new_BT = old_BT.clone()
    new_BT[:, 0] += torch.tensor(log_ratio, dtype=torch.float64)
    return PolicyUpdate(new_BT.requires_grad_(), old_BT, mask_BT, torch.tensor(advantage, dtype=torch.float64))


def row_gradient(loss_B: Tensor, of: Tensor) -> Tensor:
    loss_B.sum().backward()
    assert of.grad is not None
    return of.grad


def test_ppo_clip_by_hand_on_both_signs() -> None:
    """Ratios 3/2 and 1/2 against the range [0.8, 1.2]."""
    batch = ppo_clip_update([log(1.5), log(1.5), log(0.5), log(0.5)], [2.0, -2.0, 2.0, -2.0])
    loss_B = PPOClip(clip=0.2)(batch)
    assert loss_B.tolist() == pytest.approx([-2.4, 3.0, -1.0, 1.6])
    assert PPOClip(clip=0.2).clipped(batch).tolist() == [True, False, False, True]
    # where the clip holds nothing moves; elsewhere d loss / d logp = -A rho
    assert row_gradient(loss_B, batch.logp_BT)[:, 0].tolist() == pytest.approx([0.0, 3.0, -1.0, 0.0])


def test_within_the_range_nothing_is_clipped() -> None:
    batch = ppo_clip_update([log(1.1), log(0.9)], [1.0, -1.0])
    assert PPOClip()(batch).tolist() == pytest.approx([-1.1, 0.9])
    assert PPOClip().clipped(batch).tolist() == [False, False]


@pytest.mark.parametrize("clip", [1e-4, 0.2, 2.0])
def test_ppo_clip_at_ratio_one_the_gradient_is_reinforce(clip: float) -> None:
    advantages = [1.5, -0.5, 0.0]
    batch = ppo_clip_update([0.0, 0.0, 0.0], advantages)
    loss_B = PPOClip(clip=clip)(batch)
    assert loss_B.tolist() == [-1.5, 0.5, 0.0]
    assert PPOClip(clip=clip).clipped(batch).tolist() == [False, False, False]
    expected_BT = torch.tensor([[-a, -a] for a in advantages], dtype=torch.float64)
    assert torch.equal(row_gradient(loss_B, batch.logp_BT), expected_BT)


def test_the_ratio_is_one_per_sequence() -> None:
    """Two tokens each within the range leave it together: 1.15^2 > 1.2."""
    old_BT = torch.zeros(1, 2, dtype=torch.float64)
    batch = PolicyUpdate(
        old_BT + log(1.15), old_BT, torch.ones(1, 2, dtype=torch.bool), torch.ones(1, dtype=torch.float64)
    )
    assert PPOClip()(batch).tolist() == pytest.approx([-1.2])
    assert PPOClip().clipped(batch).tolist() == [True]


def test_ppo_clip_is_silent_where_it_clips_however_far_the_policy_has_moved() -> None:
    logp_BT = torch.tensor([[200.0], [200.0]], requires_grad=True)
    update = PolicyUpdate(
        logp_BT=logp_BT,
        old_logp_BT=torch.zeros(2, 1),
        mask_BT=torch.ones(2, 1, dtype=torch.bool),
        advantage_B=torch.tensor([1.0, 0.0]),
    )
    loss_B = PPOClip(clip=0.2)(update)
    loss_B.sum().backward()
    assert loss_B.tolist() == pytest.approx([-1.2, 0.0])
    assert logp_BT.grad is not None and logp_BT.grad.tolist() == [[0.0], [0.0]]


@pytest.mark.parametrize("value", [0.0, -0.2, float("nan")])
def test_ppo_clip_meaningless_settings_are_refused(value: float) -> None:
    with pytest.raises(ValidationError, match="clip"):
        PPOClip(clip=value)


def test_ppo_clip_the_upper_side_may_be_wider() -> None:
    batch = ppo_clip_update([log(1.5), log(1.5)], [2.0, -2.0])
    assert PPOClip(clip=0.2, clip_high=0.3)(batch).tolist() == pytest.approx([-2.6, 3.0])
    with pytest.raises(ValidationError, match="clip_high"):
        PPOClip(clip_high=0.0)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_ppo_clip_gradient_by_finite_differences(seed: int) -> None:
    batch = random_update([3, 1, 2], seed)

    def total(logp_BT: Tensor) -> Tensor:
        return PPOClip(clip=0.2)(with_logp(batch, logp_BT * batch.mask_BT)).sum()

    torch.testing.assert_close(
        finite.gradient(total, batch.logp_BT), finite.differences(total, batch.logp_BT), rtol=1e-5, atol=1e-7
    )


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=4).filter(any), st.integers(0, 3), st.integers(0, 100))
def test_ppo_clip_padding_and_row_order_change_nothing(widths: list[int], padding: int, seed: int) -> None:
    batch = random_update(widths, seed)
    torch.testing.assert_close(PPOClip()(random_update(widths, seed, padding)), PPOClip()(batch))
    order = list(range(len(widths)))[::-1]
    torch.testing.assert_close(PPOClip()(rows(batch, order)), PPOClip()(batch)[order])


def token_ratios() -> PolicyUpdate:
    """Ratios 1.5 and 0.5 with advantage 2; a single ratio 1.1 with advantage -1."""
    ratio_BT = torch.tensor([[1.5, 0.5], [1.1, 1.0]], dtype=torch.float64)
    old_BT = torch.tensor([[-1.0, -2.0], [-0.5, 0.0]], dtype=torch.float64)
    mask_BT = torch.tensor([[True, True], [True, False]])
    return PolicyUpdate(old_BT + ratio_BT.log(), old_BT, mask_BT, torch.tensor([2.0, -1.0], dtype=torch.float64))


def test_ppo_clip_token_by_hand() -> None:
    """Tokens -2.4 (cut from -3), -1 (the plain term is the larger one) and 1.1; three tokens over two rows."""
    assert PPOClipToken(aggregation="sequence_sum")(token_ratios()).tolist() == pytest.approx([-3.4, 1.1])
    assert PPOClipToken(aggregation="sequence_mean")(token_ratios()).tolist() == pytest.approx([-1.7, 1.1])
    assert PPOClipToken()(token_ratios()).tolist() == pytest.approx([-3.4 / 1.5, 1.1 / 1.5])
    assert PPOClipToken(aggregation="fixed_length")(token_ratios()).tolist() == pytest.approx([-1.7, 0.55])
    assert PPOClipToken().clipped(token_ratios()).tolist() == pytest.approx([0.5, 0.0])


def test_ppo_clip_token_the_upper_side_may_be_wider() -> None:
    assert PPOClipToken(clip_high=0.28, aggregation="sequence_sum")(token_ratios()).tolist() == pytest.approx(
        [-3.56, 1.1]
    )
    assert PPOClipToken(clip_high=0.6).clipped(token_ratios()).tolist() == [0.0, 0.0]


def test_ppo_clip_token_at_ratio_one_the_gradient_is_reinforce() -> None:
    old = random_update([3, 1, 2])
    same = with_logp(old, old.old_logp_BT)
    loss = PPOClipToken(aggregation="sequence_sum")
    slope_BT = gradient(lambda logp_BT: loss(with_logp(same, logp_BT)).sum(), same.logp_BT)
    torch.testing.assert_close(slope_BT, -same.advantage_B[:, None] * same.mask_BT)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.sampled_from(["sequence_sum", "sequence_mean", "token_mean", "fixed_length"]))
def test_ppo_clip_token_gradient_by_finite_differences(seed: int, aggregation: str) -> None:
    batch = random_update([3, 1, 2], seed)
    loss = PPOClipToken(clip=0.2, aggregation=aggregation)

    def total(logp_BT: torch.Tensor) -> torch.Tensor:
        return loss(with_logp(batch, logp_BT)).sum()

    slope_BT, differences_BT = gradient(total, batch.logp_BT), differences(total, batch.logp_BT)
    torch.testing.assert_close(slope_BT * batch.mask_BT, differences_BT * batch.mask_BT, rtol=1e-5, atol=1e-7)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=4).filter(any), st.integers(0, 3), st.integers(0, 100))
def test_ppo_clip_token_padding_and_row_order_change_nothing(widths: list[int], padding: int, seed: int) -> None:
    loss, batch = PPOClipToken(), random_update(widths, seed)
    torch.testing.assert_close(loss(random_update(widths, seed, padding)), loss(batch))
    order = list(range(len(widths)))[::-1]
    torch.testing.assert_close(loss(rows(batch, order)), loss(batch)[order])


def test_a_token_that_became_impossible_is_finite() -> None:
    batch = token_ratios()
    batch.logp_BT[0, 0] = -torch.inf
    assert PPOClipToken()(batch).isfinite().all()


def test_ppo_clip_token_bad_settings() -> None:
    for field, value in [("clip", 0.0), ("clip", -0.2), ("clip_high", 0.0), ("aggregation", "mean")]:
        with pytest.raises(ValidationError, match=field):
            PPOClipToken(**{field: value})


def test_reinforce_by_hand() -> None:
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
def test_reinforce_padding_and_row_order_change_nothing(widths: list[int], padding: int, seed: int) -> None:
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


def gspo_update() -> PolicyUpdate:
    """Ratios 1.44 and 1 of two tokens: geometric mean 1.2. A single ratio of 1.1."""
    old_BT = torch.tensor([[-1.0, -2.0], [-0.5, 0.0]], dtype=torch.float64)
    new_BT = old_BT + torch.tensor([[log(1.44), 0.0], [log(1.1), 0.0]], dtype=torch.float64)
    mask_BT = torch.tensor([[True, True], [True, False]])
    return PolicyUpdate(new_BT, old_BT, mask_BT, torch.tensor([2.0, -1.0], dtype=torch.float64))


def test_gspo_by_hand() -> None:
    assert GSPO(clip=0.1, clip_high=None)(gspo_update()).tolist() == pytest.approx([-2.2, 1.1])
    assert GSPO(clip=0.1, clip_high=None).clipped(gspo_update()).tolist() == [True, False]
    assert GSPO(clip=0.1, clip_high=0.3)(gspo_update()).tolist() == pytest.approx([-2.4, 1.1])
    assert GSPO()(gspo_update()).tolist() == pytest.approx([-2.0008, 1.1])  # the paper's 4e-4


def test_of_one_token_it_is_ppo() -> None:
    batch = random_update([1, 1, 1], seed=3)
    torch.testing.assert_close(GSPO(clip=0.2, clip_high=None)(batch), PPOClip(clip=0.2)(batch))


def test_on_policy_the_gradient_is_the_advantage_over_the_length() -> None:
    batch = random_update([3, 1, 2])
    batch.old_logp_BT = batch.logp_BT
    slope_BT = gradient(lambda logp_BT: GSPO()(with_logp(batch, logp_BT)).sum(), batch.logp_BT)
    expected_BT = -(batch.advantage_B / batch.length_B)[:, None] * batch.mask_BT
    torch.testing.assert_close(slope_BT * batch.mask_BT, expected_BT)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_gspo_gradient_by_finite_differences(seed: int) -> None:
    batch = random_update([3, 1, 2], seed)
    loss = GSPO(clip=0.05, clip_high=0.1)

    def total(logp_BT: torch.Tensor) -> torch.Tensor:
        return loss(with_logp(batch, logp_BT * batch.mask_BT)).sum()

    torch.testing.assert_close(gradient(total, batch.logp_BT), differences(total, batch.logp_BT), rtol=1e-5, atol=1e-7)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=4).filter(any), st.integers(0, 3), st.integers(0, 100))
def test_gspo_padding_and_row_order_change_nothing(widths: list[int], padding: int, seed: int) -> None:
    loss, batch = GSPO(clip=0.1), random_update(widths, seed)
    torch.testing.assert_close(loss(random_update(widths, seed, padding)), loss(batch))
    order = list(range(len(widths)))[::-1]
    torch.testing.assert_close(loss(rows(batch, order)), loss(batch)[order])


def test_finite_however_far_the_policy_has_moved() -> None:
    batch = PolicyUpdate(
        torch.tensor([[500.0], [-torch.inf]]),
        torch.zeros(2, 1),
        torch.ones(2, 1, dtype=torch.bool),
        torch.tensor([-1.0, 1.0]),
    )
    assert GSPO()(batch).tolist() == pytest.approx([exp(80), 0.0], rel=1e-4)


def test_gspo_bad_settings() -> None:
    for field in ("clip", "clip_high"):
        with pytest.raises(ValidationError, match=field):
            GSPO(**{field: 0.0})


def cispo_update() -> PolicyUpdate:
    """Ratios 8 and 0.5 with advantage 2; a single ratio 1 with advantage -1. New log-probabilities -1, -2, -0.5."""
    ratio_BT = torch.tensor([[8.0, 0.5], [1.0, 1.0]], dtype=torch.float64)
    new_BT = torch.tensor([[-1.0, -2.0], [-0.5, 0.0]], dtype=torch.float64)
    mask_BT = torch.tensor([[True, True], [True, False]])
    return PolicyUpdate(new_BT, new_BT - ratio_BT.log(), mask_BT, torch.tensor([2.0, -1.0], dtype=torch.float64))


def test_cispo_by_hand() -> None:
    """5 * 2 * 1 + 0.5 * 2 * 2 = 12, and -0.5; with a lower bound of 0.8 the second token weighs 0.8."""
    assert CISPO(aggregation="sequence_sum")(cispo_update()).tolist() == pytest.approx([12.0, -0.5])
    assert CISPO()(cispo_update()).tolist() == pytest.approx([8.0, -1 / 3])
    assert CISPO(minimum=0.8, aggregation="sequence_sum")(cispo_update()).tolist() == pytest.approx([13.2, -0.5])
    assert CISPO().clipped(cispo_update()).tolist() == [0.5, 0.0]
    assert CISPO(minimum=0.8).clipped(cispo_update()).tolist() == [1.0, 0.0]


def test_a_clipped_token_still_learns_with_its_bounded_weight() -> None:
    batch = cispo_update()
    slope_BT = gradient(lambda x: CISPO(aggregation="sequence_sum")(with_logp(batch, x)).sum(), batch.logp_BT)
    assert (slope_BT * batch.mask_BT).tolist() == [pytest.approx([-10.0, -1.0]), pytest.approx([1.0, 0.0])]


def test_on_policy_it_is_reinforce() -> None:
    batch = random_update([3, 1, 2])
    batch.old_logp_BT = batch.logp_BT
    torch.testing.assert_close(CISPO(aggregation="sequence_sum")(batch), Reinforce()(batch))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=4).filter(any), st.integers(0, 3), st.integers(0, 100))
def test_cispo_padding_and_row_order_change_nothing(widths: list[int], padding: int, seed: int) -> None:
    loss, batch = CISPO(maximum=1.1, minimum=0.9), random_update(widths, seed)
    torch.testing.assert_close(loss(random_update(widths, seed, padding)), loss(batch))
    order = list(range(len(widths)))[::-1]
    torch.testing.assert_close(loss(rows(batch, order)), loss(batch)[order])


def test_cispo_bad_settings() -> None:
    for field, value in [("maximum", 0.0), ("minimum", -0.1)]:
        with pytest.raises(ValidationError, match=field):
            CISPO(**{field: value})
    with pytest.raises(ValidationError, match=r"minimum: 6.0 is above maximum 5.0"):
        CISPO(minimum=6.0)


def lco_update(
    old_MV: Tensor, new_MV: Tensor, token: list[int], advantage: list[float], widths: list[int]
) -> PolicyUpdate:
    mask_BT = torch.arange(max(widths)) < torch.tensor(widths)[:, None]
    empty_BT = torch.zeros(mask_BT.shape, dtype=old_MV.dtype)
    return PolicyUpdate(
        logp_BT=empty_BT,
        old_logp_BT=empty_BT,
        mask_BT=mask_BT,
        advantage_B=torch.tensor(advantage, dtype=old_MV.dtype),
        logits=TokenLogits(new_MV, torch.tensor(token), mask_BT.nonzero()[:, 0], old_MV=old_MV),
    )


OLD = torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64).log()


def test_lco_by_hand_for_both_signs() -> None:
    """Token 0 of (1/2, 1/4, 1/4): its advantage is A/2, the others' -A/2.

    A = 1, beta 1: q(0) = sigma(1) = 0.7310586. A = -1, beta 2: q(0) = sigma(-1/2) = 0.3775407.
    """
    old_MV = OLD.repeat(2, 1)
    loss_B = LCO(beta_positive=1.0, beta_negative=2.0)(lco_update(old_MV, old_MV, [0, 0], [1.0, -1.0], [1, 1]))
    by_hand = [
        0.7310586 * log(0.7310586 / 0.5) + 0.2689414 * log(0.2689414 / 0.5),
        0.3775407 * log(0.3775407 / 0.5) + 0.6224593 * log(0.6224593 / 0.5),
    ]
    assert by_hand == pytest.approx([0.1109441, 0.0302998], abs=1e-6)
    assert loss_B.tolist() == pytest.approx(by_hand, abs=1e-6)


def test_lco_bounds_the_push_on_others_when_the_sampled_token_was_nearly_certain() -> None:
    """1 - 0.95 is below 0.1: the others get -pi A / 0.1 = -0.3 and -0.2, not -0.6 and -0.4."""
    old_MV = torch.tensor([[0.95, 0.03, 0.02]], dtype=torch.float64).log()
    batch = lco_update(old_MV, old_MV, [0], [1.0], [1])
    q = torch.tensor([0.95, 0.03, 0.02], dtype=torch.float64) * torch.tensor([0.05, -0.3, -0.2]).double().exp()
    q = q / q.sum()
    expected = float((q * (q.log() - old_MV[0])).sum())
    assert LCO(beta_positive=1.0)(batch).tolist() == pytest.approx([expected], rel=1e-6)


def test_lco_without_advantage_is_distillation_to_the_old_policy() -> None:
    new_MV = torch.tensor([[0.125, 0.375, 0.5]], dtype=torch.float64).log()
    loss_B = LCO()(lco_update(OLD[None], new_MV, [1], [0.0], [1]))
    assert loss_B.tolist() == pytest.approx([0.4184941], abs=1e-6)  # KL(old || new)
    assert LCO()(lco_update(OLD[None], OLD[None], [1], [0.0], [1])).tolist() == pytest.approx([0.0], abs=1e-12)


def test_lco_sums_the_tokens_of_each_row() -> None:
    generator = torch.Generator().manual_seed(0)
    old_MV, new_MV = torch.randn(2, 5, 3, dtype=torch.float64, generator=generator)
    together_B = LCO()(lco_update(old_MV, new_MV, [0, 1, 2, 0, 1], [1.0, -2.0], [2, 3]))
    parts = [
        LCO()(lco_update(old_MV[m : m + 1], new_MV[m : m + 1], [m % 3], [1.0 if m < 2 else -2.0], [1])).item()
        for m in range(5)
    ]
    assert together_B.tolist() == pytest.approx([sum(parts[:2]), sum(parts[2:])])


def test_lco_gradient_by_finite_differences_and_by_formula() -> None:
    """d KL(q || softmax(z)) / dz = softmax(z) - q, and nothing flows into the old logits."""
    generator = torch.Generator().manual_seed(1)
    old_MV, new_MV = torch.randn(2, 3, 4, dtype=torch.float64, generator=generator)
    old_MV.requires_grad_()
    new_MV.requires_grad_()
    loss = LCO(beta_positive=0.5, beta_negative=3.0)

    def total(logits_MV: Tensor) -> Tensor:
        return loss(lco_update(old_MV, logits_MV, [3, 0, 2], [0.7, -0.4], [1, 2])).sum()

    total(new_MV).backward()
    assert new_MV.grad is not None and old_MV.grad is None
    step, differences = 1e-5, torch.zeros(3, 4, dtype=torch.float64)
    for m in range(3):
        for v in range(4):
            nudge = torch.zeros(3, 4, dtype=torch.float64)
            nudge[m, v] = step
            with torch.no_grad():
                differences[m, v] = (total(new_MV + nudge) - total(new_MV - nudge)) / (2 * step)
    torch.testing.assert_close(new_MV.grad, differences, rtol=1e-6, atol=1e-8)
    q_MV = new_MV.detach().softmax(-1) - new_MV.grad
    assert q_MV.sum(1).tolist() == pytest.approx([1.0, 1.0, 1.0])
    old_probability_MV = old_MV.detach().softmax(-1)
    assert q_MV[0, 3] > old_probability_MV[0, 3]  # A > 0 pulls the sampled token up
    assert q_MV[1, 0] < old_probability_MV[1, 0]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=4).filter(any), st.integers(0, 3), st.integers(0, 100))
def test_lco_padding_and_row_order_change_nothing(widths: list[int], padding: int, seed: int) -> None:
    batch = random_update(widths, seed)
    torch.testing.assert_close(LCO()(random_update(widths, seed, padding)), LCO()(batch))
    order = list(range(len(widths)))[::-1]
    torch.testing.assert_close(LCO()(rows(batch, order)), LCO()(batch)[order])


def test_what_it_needs_and_clips() -> None:
    assert LCO.needs == {"logits", "old_logits"}
    assert LCO().clipped(lco_update(OLD[None], OLD[None], [0], [1.0], [1])) is None


@pytest.mark.parametrize("value", [0.0, -0.2, float("nan")])
def test_lco_meaningless_settings_are_refused(value: float) -> None:
    with pytest.raises(ValidationError, match="beta_positive"):
        LCO(beta_positive=value)
