from __future__ import annotations

import pytest
import torch
from preferences import ranking, sums, token_gradients
from pydantic import ValidationError

from overopt.objectives.pair_losses import KTO
from overopt.types import PreferenceScores, Scored


def scores(mismatched_drift: list[float]) -> PreferenceScores:
    """Two pairs: chosen drift 5 and 0, rejected drift -3 and 2, against a reference of -10 everywhere."""

    def at(drift: list[float], lengths: list[int]) -> Scored:
        return sums([-10 + d for d in drift], lengths, [-10.0] * len(drift))

    return ranking(at([5.0, 0.0], [3, 4]), at([-3.0, 2.0], [2, 4]), mismatched=at(mismatched_drift, [4, 3]))


def test_loss_by_hand() -> None:
    """z = 0.1 (2 + 4) / 2 = 0.3; rewards 0.5, -0.3 and 0, 0.2."""
    loss_P = KTO()(scores([2.0, 4.0]))
    by_hand = [
        (1 - 0.5498340) + (1 - 0.6456563),  # sigma(0.5 - 0.3), sigma(0.3 + 0.3)
        (1 - 0.4255575) + (1 - 0.5249792),  # sigma(-0.3), sigma(0.1)
    ]
    assert loss_P.tolist() == pytest.approx(by_hand, abs=1e-6)


def test_the_weights_of_the_two_halves() -> None:
    loss_P = KTO(desirable_weight=2.0, undesirable_weight=0.5)(scores([2.0, 4.0]))
    assert loss_P.tolist() == pytest.approx(
        [2 * 0.4501660 + 0.5 * 0.3543437, 2 * 0.5744425 + 0.5 * 0.4750208], abs=1e-6
    )


def test_z_is_not_negative() -> None:
    """A batch that drifted down counts as z = 0: the mean is clamped, not its terms."""
    below_P, zero_P = KTO()(scores([-30.0, 10.0])), KTO()(scores([0.0, 0.0]))
    assert torch.equal(below_P, zero_P)
    assert zero_P.tolist() == pytest.approx([0.3775407 + 0.4255575, 0.5 + 0.5498340], abs=1e-6)


def test_no_gradient_through_z() -> None:
    batch = scores([2.0, 4.0])
    KTO()(batch).sum().backward()
    assert batch.mismatched is not None and batch.mismatched.logp_PT.grad is None
    chosen, rejected = token_gradients(batch.chosen), token_gradients(batch.rejected)
    # -beta s (1 - s) at 0.2 and -0.3, +beta s (1 - s) at 0.6 and 0.1
    assert [row[0] for row in chosen] == pytest.approx([-0.02475166, -0.02444583], abs=1e-7)
    assert [row[0] for row in rejected] == pytest.approx([0.02287842, 0.02493760], abs=1e-7)


def test_at_initialization_both_halves_are_one_half() -> None:
    same = sums([-10.0, -10.0], [3, 4], [-10.0, -10.0])
    batch = ranking(same, same, mismatched=same)
    assert KTO()(batch).tolist() == [1.0, 1.0]


def test_settings_and_needs() -> None:
    assert KTO.needs == {"reference", "mismatched"}
    assert not KTO.separable
    for wrong in ({"beta": 0.0}, {"desirable_weight": -1.0}, {"undesirable_weight": -1.0}):
        with pytest.raises(ValidationError):
            KTO(**wrong)
