from __future__ import annotations

import math

import numpy as np
import pytest
from synthetic_study import (
    COLLAPSE,
    FLAT,
    GOOD,
    OVER,
    OVER_PEAK,
    STALL,
    Curve,
    Plan,
    Spec,
    member,
    members,
)

from overopt.outcomes import SIGNIFICANCE, Outcome
from overopt.replication.cells import Cell, beside, best_against, cell_of, cells_of, contrast, ends
from overopt.replication.members import Member, Members
from overopt.statistics import tail

LABELS = {"GOOD": GOOD, "OVER": OVER, "OVER-PEAK": OVER_PEAK, "COLLAPSE": COLLAPSE, "FLAT": FLAT, "STALL": STALL}


def cell(*runs: Member) -> Cell:
    return Cell("R", {}, runs, len(runs))


def won(row: str, seed: int, *columns: list[float], difference: tuple[float, float] = (0, 0)) -> Member:
    """A run with these outcomes at steps 0, 10, ... over prompts p0, p1, ..."""
    outcomes = {10 * i: {f"p{j}": value for j, value in enumerate(column)} for i, column in enumerate(columns)}
    numbers = {"difference": difference[0], "difference_se": difference[1]}
    return Member(f"{row}-{seed}", row, {}, seed, "online", "finished", {}, Outcome("FLAT", "", numbers), won=outcomes)


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("seeds", [(100,), (100, 101, 102, 103, 104)])
def test_each_label_over_one_seed_and_over_five(label: str, seeds: tuple[int, ...]) -> None:
    plan: Plan = {("ME-1B-1e-6", ()): Spec(**LABELS[label])}  # type: ignore[arg-type]
    assert cell_of(members(plan, seeds), "ME-1B-1e-6", {}).label == label


@pytest.mark.parametrize("seed", range(40))
def test_with_one_seed_a_cell_s_label_is_the_run_s_own(seed: int) -> None:
    """Win rates near the boundaries, where any difference between the two rules would show."""
    random = np.random.default_rng(seed)
    spec = Spec(wins=tuple(0.4 + 0.2 * random.standard_normal(4)), proxy=0.1 * random.standard_normal())
    run = member("R", {}, seed, spec)
    found = cell(run)
    numbers = run.outcome.numbers
    assert found.label == run.outcome.label
    assert (found.difference.mean, found.difference.se) == (numbers["difference"], numbers["difference_se"])
    assert (found.peak.step, found.peak.p) == (numbers["peak_step"], pytest.approx(numbers["peak_p"], rel=0.02))
    assert found.stable == run.outcome.stable


def test_the_error_over_seeds_is_the_larger_one() -> None:
    # pooled: sqrt(2 * .1^2)/2 = .0707; between seeds: sd(.1, .5)/sqrt(2) = .2
    apart = cell(won("R", 0, [0], difference=(0.1, 0.1)), won("R", 1, [0], difference=(0.5, 0.1)))
    assert apart.difference == (pytest.approx(0.3), pytest.approx(0.2))
    alike = cell(won("R", 0, [0], difference=(0.3, 0.1)), won("R", 1, [0], difference=(0.3, 0.1)))
    assert alike.difference.se == pytest.approx(0.1 / math.sqrt(2))


def test_the_peak_is_that_of_the_mean_curve() -> None:
    # step 10: .75 and .25, mean .5; step 20: .5 and .75, mean .625; end .25 and .25: the fall is .25 and .5
    one = won("R", 0, [1, 0, 0, 0], [1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0])
    other = won("R", 1, [1, 0, 0, 0], [0, 0, 0, 1], [1, 1, 1, 0], [0, 0, 1, 0])
    peak = cell(one, other).peak
    assert (peak.step, peak.drop.mean) == (20, pytest.approx((0.25 + 0.5) / 2))
    # se over prompts: sqrt(.25 - .25^2)/2 = .2165 and sqrt(.5 - .5^2)/2 = .25; pooled .1654, between seeds .125
    assert peak.drop.se == pytest.approx(math.hypot(math.sqrt(0.1875) / 2, 0.25) / 2)
    # the best of three is above the last by chance more often than one that was chosen before
    assert tail(peak.drop.z) < peak.p < 3 * tail(peak.drop.z)


def test_the_curve_is_less_step_0_at_the_steps_that_all_seeds_have() -> None:
    one = won("R", 0, [1, 0, 0, 0], [1, 1, 1, 0], [1, 1, 0, 0])
    curve = cell(one, won("R", 1, [1, 0, 0, 0], [1, 1, 0, 0])).curve
    assert {step: d.mean for step, d in curve.items()} == {0: 0, 10: pytest.approx((0.5 + 0.25) / 2)}


def test_a_cell_without_half_of_its_seeds_has_a_problem() -> None:
    closed = {("R", ()): Spec(gate="the reward model is no better than length")}
    study = members(closed, range(5))
    kept = members({("R", ()): Spec()}, range(5))

    def mixed(open_gates: int) -> Cell:
        runs = (*kept.runs[:open_gates], *study.runs[open_gates:])
        return cell_of(Members("s", "miniature", runs, kept.planned), "R", {})

    assert mixed(3).problem is None
    assert (len(mixed(3).runs), mixed(3).planned, len(mixed(3).others)) == (3, 5, 2)
    problem = mixed(2).problem
    assert problem is not None
    assert "only 2 of 5 seeds" in problem and "no better than length" in problem
    assert "no run to judge" in str(mixed(0).problem)


def test_a_diverged_run_counts_with_its_label_and_its_cell_is_not_stable() -> None:
    plan: Plan = {("R", ()): Spec()}
    study = members(plan, range(3))
    broken = member("R", {}, 1, Spec(status="diverged"))
    found = cell_of(Members("s", "m", (study.runs[0], broken, study.runs[2]), study.planned), "R", {})
    assert (len(found.runs), found.label, found.stable) == (3, "GOOD", False)


def test_completions_that_do_not_end_are_not_stable() -> None:
    assert cell_of(members({("R", ()): Spec(ended=0.9)}), "R", {}).stable
    assert not cell_of(members({("R", ()): Spec(ended=0.7)}), "R", {}).stable


def test_series_are_means_at_the_steps_of_all_seeds() -> None:
    def run(seed: int, steps: list[float], values: list[float]) -> Member:
        series = {
            "kl_ref": (np.array(steps), np.array(values)),
            "lr": (np.array([1.0, 2.0, 3.0]), np.array([3.0, 2.0, 1.0])),
        }
        return Member(f"{seed}", "R", {}, seed, "online", "finished", {}, Outcome("GOOD", ""), series)

    found = cell(run(0, [1, 2, 3], [1, 2, 3]), run(1, [1, 3], [5, 7]))
    steps, values = found.series("kl_ref")
    assert steps.tolist() == [1, 3] and values.tolist() == [3, 5]
    assert found.learned("kl_ref")[0].tolist() == [3, 6]  # 3, and 3 + 2 + 1
    assert found.by_seed(lambda one: float(one.series("kl_ref")[1][-1])) == [3, 7]
    assert found.has("kl_ref") and not found.has("kl_prev")


def test_trends_of_the_mean_series() -> None:
    up = cell_of(members({("R", ()): Spec(series={"kl_prev": Curve(1, 2, noise=0.1)})}), "R", {})
    assert up.trend("kl_prev").tau > 0.9


def test_final_win_rates_are_paired_over_prompts_and_seeds() -> None:
    a = cell(won("A", 0, [1, 1, 0, 0]), won("A", 1, [1, 1, 1, 0]))
    b = cell(won("B", 0, [1, 0, 0, 0]), won("B", 1, [1, 0, 0, 0]))
    found = contrast(a, b)
    assert found is not None
    # .25 with se sqrt(.25 - .25^2)/2, and .5 with se .25
    assert found == (pytest.approx(0.375), pytest.approx(math.hypot(math.sqrt(0.1875) / 2, 0.25) / 2))
    assert contrast(a, cell(won("B", 7, [1, 0]))) is None


def test_other_prompts_are_compared_without_pairs() -> None:
    other = Member("B", "B", {}, 0, "online", "finished", {}, Outcome("FLAT", ""), won={0: {"q0": 1.0, "q1": 0.0}})
    found = contrast(cell(won("A", 0, [1, 1, 1, 0])), cell(other))
    assert found is not None
    assert found == (pytest.approx(0.25), pytest.approx(math.sqrt(0.1875 / 4 + 0.25 / 2)))


def test_the_best_of_several_pays_for_the_choice() -> None:
    study = members({("A", (("coef", c),)): Spec(wins=(0.4, 0.4 + c)) for c in (0.1, 0.2, 0.3)} | {("B", ()): Spec()})
    best = best_against(cells_of(study, "A"), cell_of(study, "B", {}))
    assert best is not None
    assert (best.cell.setting, best.difference.mean, best.p) == ({"coef": 0.3}, pytest.approx(0), 1.0)
    lower = members({**{("A", (("coef", c),)): Spec(wins=(0.4, 0.7 + c)) for c in (0.0, 0.05)}, ("B", ()): Spec()})
    found = best_against(cells_of(lower, "A"), cell_of(lower, "B", {}))
    assert found is not None
    assert tail(found.difference.z) < found.p < 2 * tail(found.difference.z)
    assert best_against([], cell_of(study, "B", {})) is None


def test_ends_of_two_series() -> None:
    series = {"kl_ref": Curve(0, 10, noise=0.0)}
    study = members({("A", ()): Spec(series=series), ("B", ()): Spec(series={"kl_ref": Curve(0, 4, noise=0.0)})})
    found = ends(cell_of(study, "A", {}), cell_of(study, "B", {}), "kl_ref")
    assert found is not None
    # the last 5 of 80 points of a line to 10 and to 4: means 10 * 78/80 and 4 * 78/80
    assert found.mean == pytest.approx(6 * 78 / 80)


def test_settings_are_in_order_and_only_their_own() -> None:
    study = members({("A", (("coef", c),)): Spec() for c in (0.5, 0.05, 1.0)}, seeds=(0,))
    assert [found.setting["coef"] for found in cells_of(study, "A")] == [0.05, 0.5, 1.0]
    assert next(found.name for found in cells_of(study, "A")) == "A coef=0.05"
    assert cells_of(study, "B") == []
    assert "not part of the study" in str(cell_of(study, "B", {}).problem)


def test_runs_without_a_label_count_where_dynamics_are_asked_for() -> None:
    study = members({("A", ()): Spec(judged=False), ("B", ()): Spec(gate="closed")}, seeds=(0,))
    assert cell_of(study, "A", {}).problem is not None
    assert cell_of(study, "A", {}, labeled=False).problem is None
    assert cell_of(study, "B", {}, labeled=False).problem is not None


def test_significance_is_that_of_labels() -> None:
    just = won("R", 0, [0, 1], difference=(0.2, 0.2 / SIGNIFICANCE))
    assert cell(just).difference.z == pytest.approx(SIGNIFICANCE)


def test_a_statistic_of_several_cells_is_set_side_by_side_by_seed() -> None:
    """Seed 1 lacks in the second: the others must not move up into its place."""
    a = cell(*(won("A", seed, [0], difference=(0.1 * seed, 0)) for seed in (0, 1, 2)))
    b = cell(*(won("B", seed, [0], difference=(0.2 * seed, 0)) for seed in (0, 2, 3)))
    assert beside((a, b), lambda one: one.difference.mean) == [(0, 0), (pytest.approx(0.2), pytest.approx(0.4))]
