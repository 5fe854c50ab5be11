from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from overopt.objectives.controllers import Cosine, Fixed, Linear, TargetEntropy
from overopt.objectives.regularizers import KL, EntropyLengthNormalized, EntropySum
from overopt.types import Rollouts

ALL = [KL(), EntropySum(), EntropyLengthNormalized()]


def rollouts(with_reference: bool = True, padding: int = 0) -> Rollouts:
    """A completion of three tokens and one of a single token."""
    logp_BT = torch.tensor([[-1.0, -2.0, -3.0], [-0.5, 0.0, 0.0]])
    ref_BT = torch.tensor([[-1.5, -1.0, -2.0], [-1.0, 0.0, 0.0]])
    mask_BT = torch.tensor([[True, True, True], [True, False, False]])
    wide = (0, padding)
    return Rollouts(
        logp_BT=torch.nn.functional.pad(logp_BT, wide),
        mask_BT=torch.nn.functional.pad(mask_BT, wide),
        score_B=torch.tensor([0.25, -1.5]),
        group_size=2,
        temperature=0.7,
        ref_logp_BT=torch.nn.functional.pad(ref_BT, wide) if with_reference else None,
    )


@pytest.mark.parametrize(
    ("regularizer", "coef", "bonus"),
    [
        (KL(), 0.1, [0.15, -0.05]),  # -0.1 (-6 + 4.5), -0.1 (-0.5 + 1)
        (EntropySum(), 0.1, [0.6, 0.05]),
        (EntropySum(), -0.1, [-0.6, -0.05]),
        (EntropyLengthNormalized(), 0.1, [0.2, 0.05]),  # 0.1 * 6/3, 0.1 * 0.5/1
        (EntropyLengthNormalized(), -0.5, [-1.0, -0.25]),  # MinEnt
    ],
)
def test_bonus_by_hand(regularizer: KL | EntropySum | EntropyLengthNormalized, coef: float, bonus: list[float]) -> None:
    assert regularizer(rollouts(), coef).tolist() == pytest.approx(bonus)


@pytest.mark.parametrize("regularizer", ALL, ids=lambda r: type(r).__name__)
def test__zero_leaves_the_score_bit_identical(
    regularizer: KL | EntropySum | EntropyLengthNormalized,
) -> None:
    score_B = rollouts().score_B
    assert torch.equal(score_B + regularizer(rollouts(), 0.0), score_B)


@pytest.mark.parametrize("regularizer", ALL, ids=lambda r: type(r).__name__)
def test_padding_pays_nothing(regularizer: KL | EntropySum | EntropyLengthNormalized) -> None:
    assert torch.equal(regularizer(rollouts(padding=7), 0.3), regularizer(rollouts(), 0.3))


@pytest.mark.parametrize("regularizer", ALL, ids=lambda r: type(r).__name__)
def test_no_gradient_flows_through_the_reward(regularizer: KL | EntropySum | EntropyLengthNormalized) -> None:
    batch = rollouts()
    batch.logp_BT.requires_grad_()
    assert not regularizer(batch, 0.3).requires_grad


def test_kl_reward_is_eq_6_on_the_score_shaped_by_the_reference() -> None:
    beta, batch = 0.37, rollouts()
    assert batch.ref_logp_BT is not None
    kl_reward_B = batch.score_B + KL()(batch, beta)
    shaped_B = batch.score_B + beta * batch.ref_logp_BT.sum(1)
    torch.testing.assert_close(kl_reward_B, shaped_B + EntropySum()(batch, beta))


def test_both_entropies_agree_up_to_the_length() -> None:
    batch = rollouts()
    assert batch.length_B.tolist() == [3, 1]
    torch.testing.assert_close(EntropySum()(batch, 0.2), batch.length_B * EntropyLengthNormalized()(batch, 0.2))


def test_an_empty_completion_has_no_bonus() -> None:
    empty = Rollouts(
        logp_BT=torch.zeros(1, 2),
        mask_BT=torch.zeros(1, 2, dtype=torch.bool),
        score_B=torch.zeros(1),
        group_size=1,
        temperature=1.0,
    )
    assert EntropyLengthNormalized()(empty, 0.5).tolist() == [0.0]


def test_only_kl_needs_the_reference() -> None:
    assert KL.needs == {"reference"}
    assert not EntropySum.needs | EntropyLengthNormalized.needs
    without = rollouts(with_reference=False)
    assert EntropySum()(without, 0.1).tolist() == pytest.approx([0.6, 0.05])
    with pytest.raises(ValueError, match="no reference"):
        KL()(without, 0.1)


def test_signs_and_numbers_that_make_sense() -> None:
    assert EntropySum(coef=-0.1).coef == -0.1
    assert EntropyLengthNormalized(coef=-0.1).coef == -0.1
    for value in (-0.1, float("nan"), float("inf")):
        with pytest.raises(ValidationError):
            KL(coef=value)
    for kind in (EntropySum, EntropyLengthNormalized):
        with pytest.raises(ValidationError):
            kind(coef=float("nan"))


def limited(max_len: int) -> Rollouts:
    batch = rollouts()
    batch.max_len = max_len
    return batch


def test_the_sentinel_pays_for_what_a_completion_stays_below_the_limit() -> None:
    """-0.1 (-6 + 2)/3 and -0.1 (-0.5 + 4)/1 at a limit of five tokens: shortness is fined."""
    regularizer = EntropyLengthNormalized(emulate_trl_sentinel=True)
    assert regularizer(limited(5), 0.1).tolist() == pytest.approx([0.4 / 3, -0.35])
    assert regularizer(limited(3), 0.1).tolist() == pytest.approx([0.2, -0.15])  # the longer one is at the limit
    assert regularizer(rollouts(), 0.1).tolist() == pytest.approx([0.2, -0.15])  # no limit is known: the batch's width


def test_the_bonus_at_another_temperature_takes_log_probabilities_from_there() -> None:
    """Twice the log-probabilities where a temperature of 1 is asked: -0.1 (-12)/3 and -0.1 (-1)/1."""
    batch = rollouts()
    batch.logp_at = lambda temperature: {1.0: 2.0}[temperature] * batch.logp_BT
    assert EntropyLengthNormalized(temperature=1.0)(batch, 0.1).tolist() == pytest.approx([0.4, 0.1])
    with pytest.raises(ValueError, match="no log-probabilities at another temperature"):
        EntropyLengthNormalized(temperature=1.0)(rollouts(), 0.1)
    with pytest.raises(ValidationError, match="gradient_correction: is for the entropy of the sampled policy"):
        EntropyLengthNormalized(temperature=1.0, gradient_correction=True)


def test_the_gradient_correction_is_one_more_nat() -> None:
    regularizer = EntropyLengthNormalized(gradient_correction=True)
    assert regularizer(rollouts(), 0.1).tolist() == pytest.approx([0.1 * 5 / 3, -0.1 * 0.5])
    both = EntropyLengthNormalized(gradient_correction=True, emulate_trl_sentinel=True)
    assert both(limited(5), 0.1).tolist() == pytest.approx([0.1, -0.45])


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.lists(st.floats(-20, 0), min_size=1, max_size=5), min_size=1, max_size=4),
    st.integers(0, 3),
    st.floats(-3, 3),
    st.sampled_from([EntropySum(), EntropyLengthNormalized(), EntropyLengthNormalized(gradient_correction=True), KL()]),
)
def test_padding_and_row_order_change_nothing(
    logps: list[list[float]], padding: int, coef: float, regularizer: Any
) -> None:
    def bonus(rows: list[list[float]], width: int) -> torch.Tensor:
        logp_BT = torch.tensor([row + [0.0] * (width - len(row)) for row in rows], dtype=torch.float64)
        mask_BT = torch.arange(width) < torch.tensor([len(row) for row in rows])[:, None]
        batch = Rollouts(logp_BT, mask_BT, torch.zeros(len(rows)), 1, 1.0, ref_logp_BT=0.5 * logp_BT)
        return regularizer(batch, coef)

    width = max(map(len, logps))
    expected_B = bonus(logps, width)
    torch.testing.assert_close(bonus(logps, width + padding), expected_B)
    torch.testing.assert_close(bonus(logps[::-1], width), expected_B.flip(0))


def test_a_negative_divergence_is_refused_whoever_moves_it() -> None:
    for coef in (-0.1, Linear(initial=0.1, final=-0.1), Fixed(value=-1.0), Cosine(initial=-0.1)):
        with pytest.raises(ValidationError, match="must be >= 0"):
            KL(coef=coef)
    assert EntropySum(coef=Linear(initial=0.1, final=-0.1)).coef.final == -0.1
    assert KL(coef=TargetEntropy()).coef == TargetEntropy()
