from __future__ import annotations

from math import exp

import pytest
import torch
from preferences import ranking, sums, token_gradients

from overopt.objectives.pair_losses import GammaPO
from overopt.types import PreferenceScores


def gaps(*values: float) -> PreferenceScores:
    """Pairs of single tokens whose log-probabilities lie so far apart."""
    return ranking(sums([v - 9 for v in values], [1] * len(values)), sums([-9.0] * len(values), [1] * len(values)))


EMPTY = {"gaps": [], "draws": 0}


def test_one_step_by_hand() -> None:
    """From uniform, log p falls by half of sigma(1 - 2) and sigma(1 + 1): margins 1.1517820 and 0.8482180."""
    loss = GammaPO(beta=1.0, gamma=1.0, tau=1.0, steps=1)
    loss_P, _ = loss(gaps(2.0, -1.0), EMPTY)
    assert loss_P.tolist() == pytest.approx([0.3563990, 1.9944958], abs=1e-6)


def test_twenty_steps_reach_the_minimum() -> None:
    """There tau log(n p) + gamma sigma(gamma_i - gap_i) is the same for all; clear pairs have the larger margin."""
    loss = GammaPO(beta=1.0, gamma=1.0, tau=1.0)
    gap_N = torch.tensor([2.0, -1.0, 0.5, 4.0], dtype=torch.float64)
    margin_N = loss._margins(gap_N)
    assert margin_N.sum().item() == pytest.approx(4.0)
    slope_N = margin_N.log() + torch.sigmoid(margin_N - gap_N)
    assert float(slope_N.max() - slope_N.min()) < 1e-5
    assert margin_N.argsort().tolist() == gap_N.argsort().tolist()


def test_the_margin_has_no_gradient() -> None:
    batch = gaps(2.0, -1.0)
    loss_P, _ = GammaPO(beta=1.0, gamma=1.0, tau=1.0, steps=1)(batch, EMPTY)
    loss_P.sum().backward()
    assert [row[0] for row in token_gradients(batch.chosen)] == pytest.approx([exp(-v) - 1 for v in loss_P.tolist()])


def test_on_dpo_only_the_deviation_of_the_margin_counts() -> None:
    batch = ranking(sums([-7.0, -10.0], [1, 1], [-9.0, -9.0]), sums([-9.0, -9.0], [2, 2], [-9.0, -9.0]))
    loss_P, _ = GammaPO(base="dpo", beta=1.0, gamma=1.0, tau=1.0, steps=1)(batch, EMPTY)
    assert loss_P.tolist() == pytest.approx([0.1462777, 1.2046170], abs=1e-6)


def test_a_batch_of_one_without_history_has_the_margin_itself() -> None:
    loss_P, _ = GammaPO(beta=1.0, gamma=1.0, tau=1.0)(gaps(2.0), EMPTY)
    assert loss_P.tolist() == pytest.approx([0.3132617], abs=1e-6)  # log(1 + e^-1)


def test_history_takes_part_and_is_bounded() -> None:
    loss = GammaPO(beta=1.0, gamma=1.0, tau=1.0, queue=3, subset=3)
    first_P, state = loss(gaps(2.0, -1.0), EMPTY)
    assert state == {"gaps": [2.0, -1.0], "draws": 1}
    second_P, state = loss(gaps(2.0, -1.0), state)
    assert state == {"gaps": [-1.0, 2.0, -1.0], "draws": 2}
    assert not torch.allclose(first_P, second_P)  # one of the past gaps shares the margin
    alone = GammaPO(beta=1.0, gamma=1.0, tau=1.0, queue=0)
    assert alone(gaps(2.0, -1.0), EMPTY)[1] == {"gaps": [], "draws": 1}
    full = GammaPO(beta=1.0, gamma=1.0, tau=1.0, subset=2)
    torch.testing.assert_close(full(gaps(2.0, -1.0), state)[0], first_P)


def test_past_gaps_are_drawn_without_replacement_and_anew_each_time() -> None:
    loss, history = GammaPO(subset=6), [float(i) for i in range(20)]
    drawn = [loss._drawn({"gaps": history, "draws": n}, batch=2) for n in range(8)]
    assert all(len(set(gaps)) == 4 and set(gaps) <= set(history) for gaps in drawn)
    assert len({tuple(gaps) for gaps in drawn}) == 8
    assert loss._drawn({"gaps": history, "draws": 3}, batch=2) == drawn[3]
