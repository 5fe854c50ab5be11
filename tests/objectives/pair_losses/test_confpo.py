from __future__ import annotations

from math import log

import pytest
from preferences import ranking, scored, token_gradients

from overopt.objectives.pair_losses import ConfPO


def logs(*probabilities: float) -> list[float]:
    return [log(p) for p in probabilities]


def test_loss_and_gradient_by_hand() -> None:
    """Means 0.6 keep 0.1 alone, and 0.4 alone: log(0.1/0.4) = -log 4, log(1 + 4) = 1.6094379."""
    chosen, rejected = scored([logs(0.9, 0.8, 0.1)]), scored([logs(0.8, 0.4)])
    loss = ConfPO(beta=1.0, gamma=0.0)
    loss_P = loss(ranking(chosen, rejected))
    assert loss_P.tolist() == pytest.approx([1.6094379], abs=1e-6)
    assert [r.item() for r in loss.reward(ranking(chosen, rejected))] == pytest.approx(logs(0.1, 0.4))
    loss_P.sum().backward()
    assert token_gradients(chosen) == [pytest.approx([0, 0, -0.8])]  # -sigma(log 4)
    assert token_gradients(rejected) == [pytest.approx([0, 0.8])]


def test_the_margin_and_the_mean_over_kept_tokens() -> None:
    """Two of four tokens are kept on each side: means (log 0.1 + log 0.4)/2 and log 0.2, both log 0.2."""
    batch = ranking(scored([logs(0.9, 0.1, 0.8, 0.4)]), scored([logs(0.9, 0.2, 0.2, 0.9)]))
    assert ConfPO(beta=3.0, gamma=1.0)(batch).tolist() == pytest.approx([1.3132617], abs=1e-6)


def test_a_pair_without_kept_tokens_has_loss_zero_and_no_gradient() -> None:
    chosen, rejected = scored([logs(0.5), logs(0.9, 0.1)]), scored([logs(0.9, 0.1), logs(0.9, 0.1)])
    loss_P = ConfPO()(ranking(chosen, rejected))
    assert loss_P[0].item() == 0.0 and loss_P[1].item() > 0
    loss_P.sum().backward()
    assert token_gradients(chosen)[0] == [0.0] and token_gradients(rejected)[0] == [0.0, 0.0]


@pytest.mark.parametrize("width", [None, 4, 9])
def test_padding_counts_neither_in_the_mean_nor_in_its_length(width: int | None) -> None:
    """Mean .6 keeps .5 and .4 (a mean over 4 places would be .45), mean .55 keeps .1 alone (with a pad's 1: .6625)."""
    chosen, rejected = scored([logs(0.9, 0.5, 0.4)], width=width), scored([logs(0.9, 0.65, 0.1)], width=width)
    loss = ConfPO(beta=1.0, gamma=0.0)
    rewards = [r.item() for r in loss.reward(ranking(chosen, rejected))]
    assert rewards == pytest.approx([(log(0.5) + log(0.4)) / 2, log(0.1)])
    assert loss(ranking(chosen, rejected)).item() == pytest.approx(log(1 + 0.1 / 0.2**0.5))
