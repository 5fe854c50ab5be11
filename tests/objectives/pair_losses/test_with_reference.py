from __future__ import annotations

from math import exp, log

import pytest
import torch
from preferences import ranking, sums, token_gradients
from pydantic import ValidationError

from overopt.objectives.pair_losses import DPO, IPO, KTO, RPO, ChiPO, Hinge
from overopt.types import CompletionLogps, PreferenceScores


def dpo_scores(chosen: float, rejected: float, ref_chosen: float, ref_rejected: float) -> PreferenceScores:
    return ranking(sums([chosen], [3], [ref_chosen]), sums([rejected], [5], [ref_rejected]))


def test_dpo_loss_and_rewards_by_hand() -> None:
    batch = dpo_scores(-10.0, -12.0, -11.0, -11.5)
    chosen_P, rejected_P = DPO(beta=0.5).reward(batch)
    assert [chosen_P.item(), rejected_P.item()] == [0.5, -0.25]
    assert DPO(beta=0.5)(batch).tolist() == pytest.approx([0.3868711], abs=1e-6)  # log(1 + e^-0.75)


@pytest.mark.parametrize("beta", [0.05, 0.5, 5.0])
def test_at_initialization_the_loss_is_log_2(beta: float) -> None:
    assert DPO(beta=beta)(dpo_scores(-10.0, -42.0, -10.0, -42.0)).tolist() == [log(2)]


def test_gradient_by_the_formula() -> None:
    """dL/dl_w = -beta sigma(-beta (D_w - D_l)), and the opposite for the rejected one."""
    batch = dpo_scores(-10.0, -12.0, -11.0, -11.5)
    DPO(beta=0.5)(batch).sum().backward()
    weight = 0.5 * 0.3208213  # sigma(-0.75)
    assert token_gradients(batch.chosen) == [pytest.approx([-weight] * 3, abs=1e-7)]
    assert token_gradients(batch.rejected) == [pytest.approx([weight] * 5, abs=1e-7)]


def test_sums_count_and_lengths_do_not() -> None:
    batch = dpo_scores(-10.0, -12.0, -11.0, -11.5)
    other = ranking(sums([-10.0], [50], [-11.0]), sums([-12.0], [1], [-11.5]))
    assert torch.equal(DPO()(batch), DPO()(other))


def test_beta_and_needs() -> None:
    assert DPO().beta == 0.05
    assert DPO.needs == {"reference"} and DPO.separable
    with pytest.raises(ValidationError):
        DPO(beta=0.0)


def test_smoothed_labels_by_hand() -> None:
    """log(1 + e^-0.75) = 0.3868710, log(1 + e^0.75) = 1.1368710; a tenth of the labels flipped."""
    batch = dpo_scores(-10.0, -12.0, -11.0, -11.5)
    conservative, robust = (DPO(beta=0.5, label_smoothing=0.1, smoothing=how) for how in ("conservative", "robust"))
    assert conservative(batch).tolist() == pytest.approx([0.4618710], abs=1e-6)
    assert robust(batch).tolist() == pytest.approx([0.2931210], abs=1e-6)


def test_the_robust_loss_is_unbiased_under_flipped_labels() -> None:
    """Averaged over labels that are wrong a tenth of the time it is the loss of the true labels; the other is not."""
    right, wrong = dpo_scores(-10.0, -12.0, -11.0, -11.5), dpo_scores(-12.0, -10.0, -11.5, -11.0)
    robust = DPO(beta=0.5, label_smoothing=0.1, smoothing="robust")
    assert (0.9 * robust(right) + 0.1 * robust(wrong)).tolist() == pytest.approx(DPO(beta=0.5)(right).tolist())
    conservative = DPO(beta=0.5, label_smoothing=0.1)
    assert (0.9 * conservative(right) + 0.1 * conservative(wrong)).tolist() > DPO(beta=0.5)(right).tolist()


def ipo_pair() -> PreferenceScores:
    """Log-ratios 1 over 3 tokens and -2 over 2 tokens."""
    return ranking(sums([-6.0], [3], [-7.0]), sums([-8.0], [2], [-6.0]))


def test_ipo_loss_and_rewards_by_hand() -> None:
    """The target gap is 1 / (2 tau) = 5: (3 - 5)^2, and per token (4/3 - 5)^2."""
    assert IPO(tau=0.1)(ipo_pair()).tolist() == pytest.approx([4.0])
    assert IPO(tau=0.1, length="mean")(ipo_pair()).tolist() == pytest.approx([121 / 9])
    assert [r.item() for r in IPO(tau=0.1).reward(ipo_pair())] == pytest.approx([0.1, -0.2])
    assert [r.item() for r in IPO(tau=0.3, length="mean").reward(ipo_pair())] == pytest.approx([0.1, -0.3])


def test_the_loss_is_zero_at_the_target_and_grows_on_both_sides() -> None:
    for gap, loss in [(5.0, 0.0), (4.0, 1.0), (6.0, 1.0)]:
        at = ranking(sums([gap - 9], [2], [-9.0]), sums([-9.0], [2], [-9.0]))
        assert IPO(tau=0.1)(at).tolist() == pytest.approx([loss], abs=1e-9)


def test_loss_and_gradient_by_hand() -> None:
    """Log-ratio gaps 3 and -3 at beta 0.2, and 3 at beta 0.5, which is past the hinge."""
    chosen, rejected = sums([-6.0, -6.0], [3, 1], [-7.0, -7.0]), sums([-8.0, -2.0], [2, 2], [-6.0, -6.0])
    loss_P = Hinge(beta=0.2)(ranking(chosen, rejected))
    assert loss_P.tolist() == pytest.approx([1 - 0.6, 1 + 0.6])
    loss_P.sum().backward()
    assert token_gradients(chosen) == [pytest.approx([-0.2] * 3), pytest.approx([-0.2])]
    assert token_gradients(rejected) == [pytest.approx([0.2] * 2), pytest.approx([0.2] * 2)]
    assert Hinge(beta=0.5)(ranking(chosen, rejected)).tolist() == pytest.approx([0.0, 2.5])


def test_at_initialization_it_is_one() -> None:
    same = sums([-6.0], [3], [-6.0])
    assert Hinge()(ranking(same, same)).tolist() == [1.0]


def test_rpo_loss_by_hand() -> None:
    """DPO at a log-ratio gap of 3 and beta 0.5 is log(1 + e^-1.5) = 0.2014133; the chosen's surprisal is 6 nats."""
    batch = ranking(sums([-6.0, -6.0], [3, 1], [-7.0, -7.0]), sums([-8.0, -8.0], [2, 2], [-6.0, -6.0]))
    assert RPO(beta=0.5)(batch).tolist() == pytest.approx([0.2014133 + 0.03] * 2, abs=1e-6)
    by_token = RPO(beta=0.5, nll="token_mean", nll_weight=0.1)(batch)
    assert by_token.tolist() == pytest.approx([0.2014133 + 0.1 * 6 / 2] * 2, abs=1e-6)


def test_rewards_are_those_of_dpo() -> None:
    chosen_P, rejected_P = RPO(beta=0.5).reward(ranking(sums([-6.0], [3], [-7.0]), sums([-8.0], [2], [-6.0])))
    assert [chosen_P.item(), rejected_P.item()] == [0.5, -1.0]


def chi_po_pair(chosen: float, rejected: float) -> PreferenceScores:
    """With these log-ratios."""
    return ranking(sums([chosen - 9], [2], [-9.0]), sums([rejected - 9], [3], [-9.0]))


def test_chi_po_loss_and_rewards_by_hand() -> None:
    """phi(0) = 1 and phi(log 1/2) = 1/2 - log 2: the margin is 1/2 + log 2."""
    made = [r.item() for r in ChiPO(beta=2.0).reward(chi_po_pair(0.0, -log(2)))]
    assert made == pytest.approx([2.0, 2 * (0.5 - log(2))])
    assert ChiPO(beta=1.0)(chi_po_pair(0.0, -log(2))).tolist() == pytest.approx([0.2648729], abs=1e-6)


def test_at_initialization_it_is_log_2() -> None:
    assert ChiPO()(chi_po_pair(0.0, 0.0)).tolist() == pytest.approx([log(2)])


def test_the_margin_is_clipped_to_twice_the_range() -> None:
    clipped = ChiPO(beta=1.0, reward_range=0.5)
    assert clipped(chi_po_pair(0.0, -log(2))).tolist() == pytest.approx([0.3132617], abs=1e-6)  # log(1 + e^-1)
    assert clipped(chi_po_pair(-5.0, 5.0)).tolist() == pytest.approx([1.3132617], abs=1e-6)
    assert ChiPO(beta=1.0, reward_range=5.0)(chi_po_pair(0.0, -log(2))).tolist() == pytest.approx([0.2648729], abs=1e-6)


def test_the_exponential_is_held_and_the_logarithm_goes_on() -> None:
    reward = ChiPO(beta=1.0, log_ratio_limit=2.0).reward(chi_po_pair(7.0, 1.0))
    assert [r.item() for r in reward] == pytest.approx([exp(2) + 7, exp(1) + 1])


def kto_scores(mismatched_drift: list[float]) -> PreferenceScores:
    """Two pairs: chosen drift 5 and 0, rejected drift -3 and 2, against a reference of -10 everywhere."""

    def at(drift: list[float], lengths: list[int]) -> CompletionLogps:
        return sums([-10 + d for d in drift], lengths, [-10.0] * len(drift))

    return ranking(at([5.0, 0.0], [3, 4]), at([-3.0, 2.0], [2, 4]), mismatched=at(mismatched_drift, [4, 3]))


def test_kto_loss_by_hand() -> None:
    """z = 0.1 (2 + 4) / 2 = 0.3; rewards 0.5, -0.3 and 0, 0.2."""
    loss_P = KTO()(kto_scores([2.0, 4.0]))
    by_hand = [
        (1 - 0.5498340) + (1 - 0.6456563),  # sigma(0.5 - 0.3), sigma(0.3 + 0.3)
        (1 - 0.4255575) + (1 - 0.5249792),  # sigma(-0.3), sigma(0.1)
    ]
    assert loss_P.tolist() == pytest.approx(by_hand, abs=1e-6)


def test_the_weights_of_the_two_halves() -> None:
    loss_P = KTO(desirable_weight=2.0, undesirable_weight=0.5)(kto_scores([2.0, 4.0]))
    assert loss_P.tolist() == pytest.approx(
        [2 * 0.4501660 + 0.5 * 0.3543437, 2 * 0.5744425 + 0.5 * 0.4750208], abs=1e-6
    )


def test_z_is_not_negative() -> None:
    """A batch that drifted down counts as z = 0: the mean is clamped, not its terms."""
    below_P, zero_P = KTO()(kto_scores([-30.0, 10.0])), KTO()(kto_scores([0.0, 0.0]))
    assert torch.equal(below_P, zero_P)
    assert zero_P.tolist() == pytest.approx([0.3775407 + 0.4255575, 0.5 + 0.5498340], abs=1e-6)


def test_no_gradient_through_z() -> None:
    batch = kto_scores([2.0, 4.0])
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
