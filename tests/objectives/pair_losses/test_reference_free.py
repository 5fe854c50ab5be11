from __future__ import annotations

from math import log

import pytest
import torch
from preferences import ranking, scored, sums, token_gradients
from pydantic import ValidationError
from torch import Tensor

from overopt.objectives.pair_losses import CPO, ORPO, AlphaPO, ConfPO, SimPO, SLiCHF
from overopt.types import PreferenceScores


def scores(
    chosen: list[float], rejected: list[float], chosen_len: list[int], rejected_len: list[int]
) -> PreferenceScores:
    return ranking(sums(chosen, chosen_len), sums(rejected, rejected_len))


def batch() -> PreferenceScores:
    return scores([-6.0, -9.0], [-8.0, -4.0], [3, 6], [2, 4])


def test_simpo_loss_and_rewards_by_hand() -> None:
    """Means -2 and -4, -1.5 and -1: u = 2 * 2 - 0.5 = 3.5 and 2 * -0.5 - 0.5 = -1.5."""
    chosen_P, rejected_P = SimPO().reward(batch())
    assert chosen_P.tolist() == [-4.0, -3.0]
    assert rejected_P.tolist() == [-8.0, -2.0]
    assert SimPO()(batch()).tolist() == pytest.approx([0.0297504, 1.7014133], abs=1e-6)


def test_gradient_by_the_formula() -> None:
    """dL/dl_w = -sigma(-u) alpha / |y_w|; dL/dl_l = sigma(-u) alpha / |y_l|."""
    pairs = batch()
    SimPO()(pairs).sum().backward()
    weights = [0.0293122, 0.8175745]  # sigma(-3.5), sigma(1.5)
    chosen, rejected = token_gradients(pairs.chosen), token_gradients(pairs.rejected)
    assert [row[0] for row in chosen] == pytest.approx([-weights[0] * 2 / 3, -weights[1] * 2 / 6], abs=1e-6)
    assert [row[0] for row in rejected] == pytest.approx([weights[0] * 2 / 2, weights[1] * 2 / 4], abs=1e-6)


def authors_form(pairs: PreferenceScores, beta: float, gamma_beta_ratio: float) -> Tensor:
    """The parameterization of the authors' repository: -log sigma(beta (mean_w - mean_l - ratio))."""
    gap_P = pairs.chosen.mean_logp_P - pairs.rejected.mean_logp_P
    return torch.log1p(torch.exp(-beta * (gap_P - gamma_beta_ratio)))


def trl_form(pairs: PreferenceScores, beta: float, simpo_gamma: float) -> Tensor:
    """TRL's CPOTrainer subtracts gamma / beta and multiplies by beta."""
    gap_P = pairs.chosen.mean_logp_P - pairs.rejected.mean_logp_P
    return -torch.log(torch.sigmoid(beta * (gap_P - simpo_gamma / beta)))


def test_both_published_parameterizations_are_this_one() -> None:
    ours_P = SimPO(alpha=2.0, gamma=0.5)(batch())
    torch.testing.assert_close(ours_P, authors_form(batch(), beta=2.0, gamma_beta_ratio=0.25))
    torch.testing.assert_close(ours_P, trl_form(batch(), beta=2.0, simpo_gamma=0.5))
    far_P = SimPO(alpha=0.1, gamma=2.0)(batch())  # a target gap of 20 nats per token
    torch.testing.assert_close(far_P, authors_form(batch(), beta=0.1, gamma_beta_ratio=20.0))
    torch.testing.assert_close(far_P, trl_form(batch(), beta=0.1, simpo_gamma=2.0))


def test_identical_completions_without_margin_cost_log_2() -> None:
    same = scores([-6.0, -9.0], [-6.0, -9.0], [3, 6], [3, 6])
    assert SimPO(gamma=0.0)(same).tolist() == [log(2), log(2)]


def test_the_mean_counts_and_the_length_alone_does_not() -> None:
    assert torch.equal(SimPO()(scores([-6.0], [-8.0], [3], [2])), SimPO()(scores([-12.0], [-40.0], [6], [10])))


def test_settings_and_needs() -> None:
    assert (SimPO().alpha, SimPO().gamma) == (2.0, 0.5)
    assert SimPO.needs == frozenset() and SimPO.separable
    for wrong in ({"alpha": 0.0}, {"gamma": -0.1}, {"alpha": float("nan")}):
        with pytest.raises(ValidationError):
            SimPO(**wrong)


def pair() -> PreferenceScores:
    """Mean probabilities 1/2 and 1/5."""
    return ranking(sums([2 * log(0.5)], [2]), sums([3 * log(0.2)], [3]))


def test_rewards_by_hand() -> None:
    for alpha, rewards in [
        (1.0, [1 - 2, 1 - 5]),
        (-1.0, [0.5 - 1, 0.2 - 1]),
        (2.0, [-1.5, -12.0]),
        (0.0, [-log(2), -log(5)]),
    ]:
        made = AlphaPO(alpha=alpha, beta=0.5).reward(pair())
        assert [r.item() for r in made] == pytest.approx([0.5 * r for r in rewards])


def test_alpha_po_loss_by_hand() -> None:
    """log(1 + e^-(1.5 - 0.25)) and log(1 + e^-(0.15 - 0.25))."""
    assert AlphaPO(alpha=1.0, beta=0.5, gamma=0.25)(pair()).tolist() == pytest.approx([0.2519291], abs=1e-6)
    assert AlphaPO(alpha=-1.0, beta=0.5, gamma=0.25)(pair()).tolist() == pytest.approx([0.7443967], abs=1e-6)


def test_an_exponent_that_would_overflow_is_held() -> None:
    far = ranking(scored([[-1.0]]), scored([[-1e3]]))
    assert AlphaPO(alpha=1.0)(far).tolist() == [0.0]
    assert AlphaPO(alpha=1.0).reward(far)[1].item() == pytest.approx(-2.5 * 5.540622e34, rel=1e-6)  # e^80


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


def test_cpo_loss_and_rewards_by_hand() -> None:
    """log(1 + e^-0.2) = 0.5981389 and log(1 + e^0.1) = 0.7443967; imitation 6 and 1 over the mean length 2."""
    batch = ranking(sums([-6.0, -1.0], [3, 1]), sums([-8.0, 0.0], [2, 5]))
    assert CPO(nll_weight=0.0)(batch).tolist() == pytest.approx([0.5981389, 0.7443967], abs=1e-6)
    assert CPO()(batch).tolist() == pytest.approx([3.5981389, 1.2443967], abs=1e-6)
    assert CPO(nll_weight=0.5)(batch).tolist() == pytest.approx([2.0981389, 0.9943967], abs=1e-6)
    assert [r.tolist() for r in CPO().reward(batch)] == [pytest.approx([-0.6, -0.1]), pytest.approx([-0.8, 0.0])]


def test_orpo_loss_by_hand() -> None:
    """Mean probabilities 1/2 and 1/5: odds 1 and 1/4, log(1 + 1/4) = 0.2231436; imitation log 2 per token."""
    batch = ranking(sums([2 * log(0.5)], [2]), sums([3 * log(0.2)], [3]))
    chosen_P, rejected_P = ORPO().reward(batch)
    assert [chosen_P.item(), rejected_P.item()] == pytest.approx([0.0, -log(4)])
    assert ORPO()(batch).tolist() == pytest.approx([0.7154615], abs=1e-6)
    assert ORPO(odds_weight=0.0)(batch).tolist() == pytest.approx([log(2)])


def test_certainty_has_finite_odds() -> None:
    sure = ranking(scored([[0.0, 0.0]]), scored([[-1.0]]))
    assert ORPO().reward(sure)[0].item() == pytest.approx(log(1e6), abs=1e-5)
    assert ORPO()(sure).isfinite().all()


def test_slic_hf_loss_by_hand() -> None:
    """Gaps 2 and -2 against a margin of 1, and a tenth of the chosen's surprisal."""
    batch = ranking(sums([-6.0, -8.0], [3, 3]), sums([-8.0, -6.0], [2, 2]))
    assert SLiCHF()(batch).tolist() == pytest.approx([0 + 0.6, 3 + 0.8])
    assert SLiCHF(delta=2.5, nll_weight=0.0)(batch).tolist() == pytest.approx([0.5, 4.5])
    assert [r.tolist() for r in SLiCHF().reward(batch)] == [[-6.0, -8.0], [-8.0, -6.0]]
