from dataclasses import replace

import pytest
import synthetic_study as synthetic
from synthetic_study import Spec

from overopt.replication.members import Member, Members
from overopt.replication.questions.answer import Estimate
from overopt.replication.questions.implementation_details import DETAILS, answer, matters, mean_over_training

HIGH, LOW = 5e-4, 2e-5
SEEDS = (120, 121, 122)


def run(row: str, lr: float, seed: int, end: float) -> Member:
    made = synthetic.member(row, {"lr": lr}, seed, Spec(wins=(0.4, end), proxy=2.0, config={"lr": lr}))
    rows = [{**e, "proxy_mean": 0.0, "kl_ref": 1.0, "len_mean": 10.0} for e in made.evaluations]
    return replace(made, evaluations=rows)


def study(ends: dict[str, float], seeds: tuple[int, ...] = SEEDS) -> Members:
    """Plain runs end at .1 at the high rate and at .7 at the low one; `ends` are those of details at the high rate."""
    runs = [run("plain", lr, seed, end) for lr, end in ((HIGH, 0.1), (LOW, 0.7)) for seed in seeds]
    runs += [run(row, HIGH, seed, end) for row, end in ends.items() for seed in seeds]
    return Members("s", "miniature", tuple(runs), tuple((r.row, r.setting, r.seed) for r in runs))


def test_the_mean_over_training_is_the_area_under_the_curve() -> None:
    one = replace(run("plain", HIGH, 1, 0.1), evaluations=[{"step": s, "x": x} for s, x in ((0, 1), (10, 3), (40, 3))])
    assert mean_over_training(one, "x") == pytest.approx((10 * 2 + 30 * 3) / 40)


def test_a_detail_matters_if_it_is_large_and_significant() -> None:
    assert matters(Estimate(-0.2, -0.3, -0.1, 3)) and not matters(Estimate(-0.2, -0.5, 0.1, 3))
    assert not matters(Estimate(0.05, 0.04, 0.06, 3))


def test_a_planted_detail_is_found_and_another_one_is_not() -> None:
    found = answer(study({"sentinel": 0.7, "missing-eos-keep": 0.1}))
    assert found.decision == "1 of 2 comparisons matter"
    # lines from .4 to .7 and to .1: means .55 and .25; the learning rate has the opposite of the same effect
    assert f"{DETAILS['sentinel']} at 0.0005 (+0.30 [" in found.paragraph
    assert "The learning rate (0.0005 instead of 2e-05) moves it by -0.30 [" in found.paragraph
    assert f"{DETAILS['sentinel']} at learning rate 0.0005 (OVER becomes GOOD)" in found.paragraph
    worse = answer(study({"sentinel": 0.1, "missing-eos-keep": 0.7}))
    assert f"{DETAILS['missing-eos-keep']} at 0.0005 (+0.30 [" in worse.paragraph


def test_one_seed_shows_differences_and_decides_none() -> None:
    found = answer(study({"sentinel": 0.7}, seeds=(120,)))
    assert found.decision == "0 of 1 comparisons matter" and "(one seed)" in found.paragraph


def test_without_plain_runs_nothing_is_tested() -> None:
    runs = tuple(run("sentinel", HIGH, seed, 0.7) for seed in SEEDS)
    assert answer(Members("s", "miniature", runs, ())).decision == "not tested"
