from dataclasses import replace

import numpy as np
import pytest
import synthetic_study as synthetic
from synthetic_study import GOOD, Spec

from overopt.replication.members import Member, Members
from overopt.replication.questions.equal_kl import ENTROPY, KL, answer, at_kl, by_seed, families

SEEDS = (100, 101, 102)


def run(row: str, seed: int, gold_at: float, reach: float = 10.0, **setting: float) -> Member:
    """KL grows evenly from 0 to `reach` nats in 100 updates, gold by `gold_at` for each nat."""
    steps = np.arange(1.0, 101.0)
    kl = reach * steps / 100
    made = synthetic.member(row, setting, seed, Spec(**GOOD))  # type: ignore[arg-type]
    series = {"kl_ref": (steps, kl), "gold_mean": (steps, gold_at * kl + 0.001 * (seed - 101))}
    rows = [{"step": s, "kl_ref": reach * s / 100, "win_rate": 0.4 + gold_at * s / 1000} for s in range(0, 101, 5)]
    return replace(made, series=series, evaluations=rows)


def study(kl: float, entropy: float, none: float = 0.0) -> Members:
    runs = [
        run(row, seed, gold, **setting)
        for size in ("1B", "2.8B")
        for seed in SEEDS
        for row, gold, setting in (
            (f"KL-{size}", kl, {}),
            (f"ME-{size}-1e-6", none, {"coef": 0.0}),
            (f"ME-{size}-1e-6", entropy, {"coef": 0.5}),
        )
    ]
    return Members("maxent-failure-modes", "miniature", tuple(runs), ())


def test_interpolation_by_hand() -> None:
    assert at_kl([0, 1.2, 1.8], [5, 7, 8], 1.5) == pytest.approx(7.5)
    assert at_kl([0, 1, 4], [5, 7, 8], 2.0) is None  # three nats apart, more than two
    assert at_kl([0, 1, 3], [5, 7, 8], 2.0) == pytest.approx(7.5)
    assert at_kl([0, 1], [5, 7], 1.5) is None
    assert at_kl([1.0, 1.4, 1.0], [0, 4, 10], 1.2) == pytest.approx((2 + 7) / 2)  # passed twice
    assert at_kl([1.2, 1.2], [0, 4], 1.2) is None


def test_runs_of_a_seed_are_averaged_where_they_spend_the_kl() -> None:
    runs = [run("KL-1B", 101, -0.1), run("KL-relaxed-1B", 101, -0.3, coef=0.1), run("KL-relaxed-1B", 101, 9, 1.0)]
    assert by_seed(runs, "gold of samples", 2.0) == pytest.approx({101: -0.4})  # (-.2 - .6) / 2, the third ends at 1


def test_families_are_told_by_row_and_coefficient() -> None:
    found = families(study(0.1, -0.1), "1B")
    assert {name: len(runs) for name, runs in found.items()} == {
        KL: 3, "no regularizer": 3, ENTROPY: 3, "maximum entropy, lower learning rate": 0
    }  # fmt: skip


def test_maximum_entropy_is_worse_at_equal_kl() -> None:
    found = answer(study(kl=-0.1, entropy=-0.3))
    assert found.decision == "maximum entropy is worse"
    # at 4 nats: -1.2 less -.4, equal in all seeds
    assert "differs by -0.80 [-0.80, -0.80]" in found.paragraph and "worse than KL" in found.paragraph
    row = next(r for r in found.table if r["family"] == ENTROPY and r["measure"] == "gold of samples" and r["kl"] == 8)
    assert row["mean"] == pytest.approx(-1.6) and row["seeds"] == 3
    assert "Against no regularizer at the same KL, maximum entropy is -1.20" in found.paragraph


def test_a_reversed_truth_reverses_the_answer() -> None:
    found = answer(study(kl=-0.3, entropy=-0.1))
    assert found.decision == "maximum entropy is better" and "differs by +0.80" in found.paragraph


def test_without_a_common_distance_nothing_is_tested() -> None:
    whole = study(-0.1, -0.3)
    only = Members(whole.study, whole.scale, tuple(run for run in whole.runs if run.row.startswith("KL")), ())
    assert answer(only).decision == "not tested"
