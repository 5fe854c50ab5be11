from __future__ import annotations

import math

import pytest
import tiny
import torch
from preferences import ranking, sums

from overopt.engine.head import logps_of_trees
from overopt.engine.sampler import Samples
from overopt.objectives.pair_losses import DPO, SimPO
from overopt.training.probes import (
    MicroBatchResult,
    Probes,
    UpdateStatistics,
    consecutive,
    in_order,
    numbered,
    pair_metrics,
    rollout_metrics,
)
from overopt.types import Rollouts

LOGP = torch.tensor([[-1.0, -2.0, 0.0], [-0.5, -1.5, -4.0]])
MASK = torch.tensor([[True, True, False], [True, True, True]])


def rollouts() -> Rollouts:
    return Rollouts(
        logp_BT=LOGP,
        mask_BT=MASK,
        score_B=torch.tensor([1.0, 4.0]),
        group_size=2,
        temperature=0.7,
        ref_logp_BT=torch.tensor([[-1.5, -2.5, 0.0], [-0.5, -1.0, -2.5]]),
        gold_B=torch.tensor([-1.0, -2.0]),
    )


def test_means_over_the_rollouts_by_hand() -> None:
    entropy = torch.tensor([[1.0, 2.0, 0.0], [3.0, 1.0, 3.0]])
    samples = Samples(torch.zeros(2, 3), MASK, LOGP, entropy, torch.tensor([True, False]))
    metrics = rollout_metrics(rollouts(), samples, torch.tensor([0.5, -1.0]))
    assert metrics == pytest.approx(
        {
            "score_mean": 2.5,
            "score_sd": 4.5**0.5,
            "bonus_mean": -0.25,
            "rlhf_reward": 2.25,
            "neg_logp_sum": (3 + 6) / 2,
            "neg_logp_tok": (3 / 2 + 6 / 3) / 2,  # a mean over sequences of means over tokens
            "entropy_tok": 10 / 5,  # a mean over tokens
            "eos_rate": 0.5,
            "len_mean": 2.5,
            "kl_ref": (1 - 2) / 2,
            "gold_mean": -1.5,
        }
    )


def test_without_reference_or_gold_the_names_are_absent() -> None:
    bare = Rollouts(LOGP, MASK, torch.zeros(2), 2, 0.7)
    samples = Samples(torch.zeros(2, 3), MASK, LOGP, torch.zeros(2, 3), torch.tensor([True, True]))
    assert not {"kl_ref", "gold_mean"} & rollout_metrics(bare, samples, torch.zeros(2)).keys()


def measured(
    shift: float, losses: list[float], clipped: list[bool] | None, rows: int = 2, **parts: float
) -> MicroBatchResult:
    """One token a row, by `shift` more likely than it was."""
    old_BT = torch.tensor([[-1.0], [-2.0]])
    clipped_B = None if clipped is None else torch.tensor(clipped)
    named = {f"loss/{name}": part for name, part in parts.items()}
    return MicroBatchResult(old_BT + shift, old_BT, torch.tensor(losses), clipped_B, rows, named)


def test_statistics_are_means_over_rows_and_updates() -> None:
    statistics = UpdateStatistics()
    statistics.add(measured(0.0, [1.0, 3.0], [False, False]), first=True)
    statistics.grad_norms.append(1.0)
    statistics.add(measured(0.2, [2.0, 4.0], [True, False]), first=False)
    statistics.grad_norms.append(3.0)
    e = math.exp(0.2)
    assert statistics.metrics() == pytest.approx(
        {
            "loss": (2.0 + 3.0) / 2,
            "grad_norm": 2.0,
            "approxkl": 0.5 * 0.04 / 2,
            "ratio_mean": (1 + e) / 2,
            "ratio_var": ((e - 1) / 2) ** 2,
            "sampler_gap": 0.0,
            "clipfrac": 0.25,
        },
        abs=1e-6,
    )


def test_micro_batches_add_up_to_the_same_statistics() -> None:
    whole, parts = UpdateStatistics(), UpdateStatistics()
    both = measured(0.1, [1.0, 3.0], [True, False])
    whole.add(both, first=True)
    for i in (0, 1):
        row = slice(i, i + 1)
        assert both.clipped_B is not None
        one = MicroBatchResult(both.logp_BT[row], both.old_logp_BT[row], both.loss_B[row], both.clipped_B[row], 2)
        parts.add(one, first=True)
    for statistics in (whole, parts):
        statistics.grad_norms.append(1.0)
    assert parts.metrics() == pytest.approx(whole.metrics())
    assert whole.metrics()["sampler_gap"] == pytest.approx(0.1, abs=1e-6)


def test_a_loss_that_clips_nothing_has_no_clip_fraction() -> None:
    statistics = UpdateStatistics(grad_norms=[1.0])
    statistics.add(measured(0.0, [0.0, 0.0], None), first=True)
    assert "clipfrac" not in statistics.metrics()


def test_regularizers_in_the_loss_are_means_over_rows_and_updates() -> None:
    statistics = UpdateStatistics()
    for part in (1.0, 3.0, 8.0):
        statistics.add(measured(0.0, [0.0, 0.0], None, 4, k2=part), first=False)
    statistics.grad_norms += [1.0, 1.0]
    assert statistics.metrics()["loss/k2"] == 12 / 4 / 2


def test_without_anything_that_scores_there_are_no_scores() -> None:
    samples = Samples(torch.zeros(2, 3), MASK, LOGP, torch.zeros(2, 3), torch.tensor([True, False]))
    metrics = rollout_metrics(rollouts(), samples, torch.tensor([0.5, -1.0]), scored=False)
    assert not {"score_mean", "score_sd"} & metrics.keys()
    assert metrics["bonus_mean"] == -0.25


def test_kl_between_consecutive_policies() -> None:
    policy = tiny.policy()
    old = logps_of_trees(policy, tiny.TREES, 0.7, 1000)
    at = Rollouts(old.logp_BT, old.mask_BT, torch.zeros(6), 2, 0.7)
    assert consecutive(policy, tiny.TREES, at, 1000) == pytest.approx({"kl_prev": 0, "kl_prev_reverse": 0}, abs=1e-9)
    with torch.no_grad():
        policy.head.weight.mul_(1.1)
    d = (logps_of_trees(policy, tiny.TREES, 0.7, 1000).logp_BT.sum(1) - old.logp_BT.sum(1)).double()
    moved = consecutive(policy, tiny.TREES, at, 1000)
    assert moved["kl_prev"] == pytest.approx(float((d.exp() * d - d.exp() + 1).mean()), rel=1e-6)
    assert moved["kl_prev_reverse"] == pytest.approx(float((d.exp() - 1 - d).mean()), rel=1e-6)
    assert min(moved.values()) > 0


def test_pair_metrics_by_hand() -> None:
    scores = ranking(sums([-4.0, -6.0], [2, 3], [-5.0, -5.0]), sums([-8.0, -2.0], [4, 1], [-6.0, -2.0]))
    metrics = pair_metrics(scores, DPO(beta=0.5), torch.tensor([1.0, 2.0]), (0.25, -0.25))
    assert metrics == pytest.approx(
        {
            "loss": 1.5,
            "rewards_chosen": 0.5 * (1 - 1) / 2,
            "rewards_rejected": 0.5 * (-2 + 0) / 2,
            "rewards_acc": 0.5,
            "rewards_margin": 0.5 * (3 - 1) / 2,
            "logps_chosen_sum": -5.0,
            "logps_chosen_mean": (-2 - 2) / 2,
            "logps_rejected_sum": -5.0,
            "logps_rejected_mean": (-2 - 2) / 2,
            "ref_margin": (1 - 3) / 2,
            "ref_margin_sd": 2.0,
            "ref_margin_iqr": 0 - -2,
            "logits_chosen": 0.25,
            "logits_rejected": -0.25,
        }
    )
    scores.chosen.ref_logp_PT = None
    simpo = pair_metrics(scores, SimPO(alpha=2.0), torch.zeros(2), (0.0, 0.0))
    assert "ref_margin" not in simpo
    assert simpo["rewards_chosen"] == -4.0 and simpo["rewards_margin"] == 0.0


def test_a_tie_counts_as_half() -> None:
    assert in_order(torch.tensor([2.0, 0.0, -1.0])).tolist() == [1.0, 0.5, 0.0]
    scores = ranking(sums([-4.0, -6.0], [2, 3], [-5.0, -5.0]), sums([-5.0, -7.0], [4, 1], [-6.0, -5.0]))  # gaps 0, 1
    assert pair_metrics(scores, DPO(beta=0.5), torch.zeros(2), (0.0, 0.0))["rewards_acc"] == 0.75


def test_what_costs_a_pass_is_exact_in_the_miniature_and_thinned_elsewhere() -> None:
    def due(probes: Probes, cheap: bool) -> list[int]:
        return [step for step in range(1, 10) if probes.due(step, cheap)]

    assert due(Probes(), cheap=True) == list(range(1, 10))
    assert due(Probes(), cheap=False) == [1, 4, 8]
    assert due(Probes(every=3), cheap=True) == due(Probes(every=3), cheap=False) == [1, 3, 6, 9]


def test_accuracy_is_the_share_of_pairs_in_which_the_chosen_wins_and_a_tie_counts_half() -> None:
    """Implicit rewards +1, +1, 0 and -1, of pairs that the reference does not tell apart."""
    flat = [-3.0] * 4
    chosen, rejected = sums([-2.0, -2.0, -3.0, -4.0], [1] * 4, flat), sums(flat, [1] * 4, flat)
    metrics = pair_metrics(ranking(chosen, rejected), DPO(beta=1.0), torch.zeros(4), (0.0, 0.0))
    assert metrics["rewards_acc"] == (1 + 1 + 0.5 + 0) / 4
    turned = pair_metrics(ranking(rejected, chosen), DPO(beta=1.0), torch.zeros(4), (0.0, 0.0))
    assert turned["rewards_acc"] == (0 + 0 + 0.5 + 1) / 4


def test_the_second_of_a_name_is_numbered() -> None:
    assert numbered(["a", "b", "a", "a"]) == ["a", "b", "a#2", "a#3"]
