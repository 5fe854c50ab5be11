from __future__ import annotations

from math import exp, log
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_updates import differences, from_logits, gradient, random_update, rows, with_logp
from pydantic import ValidationError

from overopt.objectives.regularizers import K1, K2, K3, TokenEntropy, TokenKLForward, TokenKLReverse
from overopt.types import PolicyUpdate

SAMPLED = [K1, K2, K3]
EXACT = [TokenKLReverse, TokenKLForward, TokenEntropy]
VARIANTS = [
    *[kind() for kind in SAMPLED],
    *[kind(per="token", aggregation=a) for kind in SAMPLED for a in ("sequence_sum", "token_mean")],
    *[kind(aggregation=a) for kind in EXACT for a in ("sequence_sum", "sequence_mean", "token_mean", "fixed_length")],
]


def update() -> PolicyUpdate:
    """Log-ratios log 2 and -log 4 of two tokens; log 2 of one token."""
    ratio_BT = torch.tensor([[2.0, 0.25], [2.0, 1.0]], dtype=torch.float64)
    new_BT = torch.tensor([[-1.0, -2.0], [-0.5, 0.0]], dtype=torch.float64)
    mask_BT = torch.tensor([[True, True], [True, False]])
    return PolicyUpdate(new_BT, new_BT, mask_BT, torch.ones(2), ref_logp_BT=new_BT - ratio_BT.log())


def test_sequence_estimates_by_hand() -> None:
    """d = -log 2 and log 2."""
    d = log(2)
    assert K1()(update(), 0.5).tolist() == pytest.approx([-0.5 * d, 0.5 * d])
    assert K2()(update(), 0.5).tolist() == pytest.approx([0.25 * d * d, 0.25 * d * d])
    assert K3()(update(), 0.5).tolist() == pytest.approx([0.5 * (2 - 1 - d), 0.5 * (0.5 - 1 + d)])


def test_token_estimates_by_hand() -> None:
    d = log(2)
    assert K1(per="token")(update(), 1.0).tolist() == pytest.approx([-d, d])
    assert K2(per="token")(update(), 1.0).tolist() == pytest.approx([2.5 * d * d, 0.5 * d * d])
    k3 = [(0.5 - 1 + d) + (4 - 1 - 2 * d), 0.5 - 1 + d]
    assert K3(per="token")(update(), 1.0).tolist() == pytest.approx(k3)
    assert K3(per="token", aggregation="token_mean")(update(), 1.0).tolist() == pytest.approx([k / 1.5 for k in k3])


def exact() -> PolicyUpdate:
    """One token: the policy (1/2, 1/4, 1/4, 0), the reference uniform."""
    new_MV = torch.tensor([[0.5, 0.25, 0.25, 0.0]], dtype=torch.float64).log()
    ref_MV = torch.zeros(1, 4, dtype=torch.float64)
    one = torch.ones(1, 1, dtype=torch.bool)
    return from_logits(new_MV, new_MV, ref_MV, torch.tensor([0]), one, torch.ones(1, dtype=torch.float64))


def test_exact_values_by_hand_and_an_impossible_token_is_finite() -> None:
    """H = 1.5 log 2; KL(pi || uniform) = log 4 - H; the other way the impossible token's quarter costs 10^4 nats."""
    assert TokenEntropy()(exact(), 2.0).tolist() == pytest.approx([-3 * log(2)])
    assert TokenKLReverse()(exact(), 2.0).tolist() == pytest.approx([log(2)])
    expected = 0.25 * (log(0.25 / 0.5) + 2 * 0.0 + log(0.25) + 1e4)
    assert TokenKLForward()(exact(), 1.0).tolist() == pytest.approx([expected])


def test_k3_keeps_its_direction_however_far_the_policy_is() -> None:
    """Beyond 20 nats exp goes on as its tangent: finite, and still pushing the log-probability up."""
    far = torch.tensor([[-30.0], [-300.0], [30.0]], dtype=torch.float64)
    batch = PolicyUpdate(far, far, torch.ones(3, 1, dtype=torch.bool), torch.ones(3), ref_logp_BT=torch.zeros(3, 1))
    slope_BT = gradient(lambda x: K3()(_moved(batch, x), 1.0).sum(), far)
    assert K3()(batch, 1.0).isfinite().all()
    assert slope_BT[:2, 0].tolist() == pytest.approx([1 - exp(20), 1 - exp(20)])
    assert float(slope_BT[2, 0]) == pytest.approx(1.0)


def _moved(batch: PolicyUpdate, logp_BT: torch.Tensor) -> PolicyUpdate:
    return with_logp(batch, logp_BT * batch.mask_BT)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([v for v in VARIANTS if type(v) in SAMPLED]))
def test_sampled_gradients_by_finite_differences(seed: int, regularizer: Any) -> None:
    batch = random_update([3, 1, 2], seed)

    def total(logp_BT: torch.Tensor) -> torch.Tensor:
        return regularizer(_moved(batch, logp_BT), 0.7).sum()

    torch.testing.assert_close(gradient(total, batch.logp_BT), differences(total, batch.logp_BT), rtol=1e-5, atol=1e-7)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([v for v in VARIANTS if type(v) in EXACT]))
def test_exact_gradients_by_finite_differences(seed: int, regularizer: Any) -> None:
    widths, generator = [2, 1], torch.Generator().manual_seed(seed)
    mask_BT = torch.arange(2) < torch.tensor(widths)[:, None]
    new_MV, ref_MV = torch.randn(2, 3, 4, dtype=torch.float64, generator=generator)

    def total(logits_MV: torch.Tensor) -> torch.Tensor:
        batch = from_logits(logits_MV, logits_MV, ref_MV, torch.tensor([0, 1, 2]), mask_BT, torch.ones(2))
        return regularizer(batch, 0.7).sum()

    torch.testing.assert_close(gradient(total, new_MV), differences(total, new_MV), rtol=1e-5, atol=1e-7)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=4).filter(any),
    st.integers(0, 3),
    st.integers(0, 100),
    st.sampled_from(VARIANTS),
)
def test_padding_and_row_order_change_nothing(widths: list[int], padding: int, seed: int, regularizer: Any) -> None:
    batch = random_update(widths, seed)
    padded = random_update(widths, seed, padding)
    batch.max_len = padded.max_len = 9
    torch.testing.assert_close(regularizer(padded, 0.5), regularizer(batch, 0.5))
    order = list(range(len(widths)))[::-1]
    torch.testing.assert_close(regularizer(rows(batch, order), 0.5), regularizer(batch, 0.5)[order])


@pytest.mark.parametrize("regularizer", VARIANTS, ids=repr)
def test_coefficient_zero_leaves_loss_and_gradient_as_they_are(regularizer: Any) -> None:
    batch = random_update([3, 1])
    loss_B = batch.logp_BT.sum(1)
    assert torch.equal(loss_B + regularizer(batch, 0.0), loss_B)


@pytest.mark.parametrize("kind", [K2, K3, TokenKLReverse, TokenKLForward])
def test_of_the_reference_itself_a_divergence_and_its_gradient_are_zero(kind: Any) -> None:
    new_MV = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mask_BT = torch.ones(1, 3, dtype=torch.bool)

    def total(logits_MV: torch.Tensor) -> torch.Tensor:
        batch = from_logits(logits_MV, new_MV, new_MV, torch.tensor([0, 3, 1]), mask_BT, torch.ones(1))
        return kind()(batch, 1.0).sum()

    assert float(total(new_MV)) == pytest.approx(0, abs=1e-12)
    assert gradient(total, new_MV).abs().max() < 1e-12


def test_bad_settings() -> None:
    for kind in (*SAMPLED, TokenKLReverse, TokenKLForward):
        with pytest.raises(ValidationError, match="coef"):
            kind(coef=-0.1)
    assert TokenEntropy(coef=-1.0).coef == -1.0
    for kind in SAMPLED:
        with pytest.raises(ValidationError, match=r"aggregation: token_mean is for token estimates; add per: token"):
            kind(aggregation="token_mean")


def test_what_each_needs_and_what_it_says_without() -> None:
    assert all(kind.needs == {"reference"} for kind in SAMPLED)
    assert TokenEntropy.needs == {"logits"}
    assert TokenKLReverse.needs == TokenKLForward.needs == {"logits", "ref_logits"}
    zero = torch.zeros(1, 1)
    bare = PolicyUpdate(zero, zero, zero == 0, zero[0])
    with pytest.raises(ValueError, match="no reference"):
        K2()(bare, 0.1)
    with pytest.raises(ValueError, match="no logits"):
        TokenEntropy()(bare, 0.1)
