from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from synthetic_study import (
    AT_ONCE,
    COLLAPSE,
    FLAT,
    GOOD,
    OVER,
    OVER_PEAK,
    SEEDS,
    SFT_WINS,
    STALL,
    Plan,
    Spec,
    joined,
    member,
    members,
)

from overopt.replication.cells import Cell, best_against, cell_of, cells_of
from overopt.replication.claims import atoms
from overopt.replication.claims.study import Test
from overopt.replication.claims.thresholds import Thresholds

T = Thresholds()
LABELS = {"GOOD": GOOD, "OVER": OVER, "OVER-PEAK": OVER_PEAK, "COLLAPSE": COLLAPSE, "FLAT": FLAT, "STALL": STALL}


def cell(change: dict, **more: object) -> Cell:  # type: ignore[type-arg]
    return cell_of(members({("R", ()): Spec(**{**change, **more})}), "R", {})


def cells(**wins: float) -> tuple[Cell, ...]:
    """Cells by name with these final win rates."""
    plan: Plan = {(name, ()): Spec(wins=(SFT_WINS, rate)) for name, rate in wins.items()}
    study = members(plan)
    return tuple(cell_of(study, name, {}) for name in wins)


# GOOD, OVER, OVER-PEAK, COLLAPSE, FLAT, STALL: + YES, - NO, ? UNCLEAR
TRUTHS: dict[str, tuple[Test, str]] = {
    "over": (atoms.over, "-++???"),
    "over at the end": (atoms.over_at_the_end, "-+????"),
    "good": (atoms.good, "+---??"),
    "stable": (atoms.stable, "+---++"),
    "good and stable": (atoms.good_and_stable, "+---??"),
    "not above": (atoms.not_above, "-+++++"),
    "below or fell": (atoms.below_or_fell, "-+++??"),
    "kept its peak": (atoms.kept_its_peak, "+---++"),
    "conservative or over": (atoms.conservative_or_over, "-++?++"),
}


@pytest.mark.parametrize("atom", TRUTHS)
@pytest.mark.parametrize("label", LABELS)
def test_what_a_label_means_for_each_question(atom: str, label: str) -> None:
    test, expected = TRUTHS[atom]
    one = cell(LABELS[label])
    assert one.label == label
    sign = expected[list(LABELS).index(label)]
    assert test(one, T).truth.name == {"+": "YES", "-": "NO", "?": "UNCLEAR"}[sign]


@pytest.mark.parametrize("atom", TRUTHS)
def test_a_cell_without_runs_is_not_tested(atom: str) -> None:
    test, _ = TRUTHS[atom]
    for broken in (cell(GOOD, gate="closed"), cell(GOOD, judged=False)):
        found = test(broken, T)
        assert found.truth.name == "UNTESTED"
        assert "no run to judge" in found.reason


def test_what_is_not_known_of_completions_leaves_stability_untested() -> None:
    one = cell(GOOD)
    for run in one.runs:
        del run.outcome.numbers["ended_end"]
    assert atoms.stable(one, T).truth.name == "UNTESTED"


def _ending(*shares: float) -> Cell:
    """A good cell with seeds of which these shares of SFT's completions end."""
    study = members({("R", ()): Spec()}, range(len(shares)))
    runs = tuple(member("R", {}, seed, Spec(ended=share)) for seed, share in enumerate(shares))
    return cell_of(replace(study, runs=runs), "R", {})


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ((0.9, 0.9, 0.9), "YES"),
        ((0.7, 0.7, 0.7), "NO"),
        ((0.9, 0.9, 0.3), "UNCLEAR"),  # mean .7, of which .2 is the standard error
        ((0.72, 0.74, 0.7), "NO"),
        ((0.7,), "UNCLEAR"),  # one seed has no spread
    ],
)
def test_completions_that_do_not_end_contradict_stability_by_two_standard_errors(
    shares: tuple[float, ...], expected: str
) -> None:
    assert atoms.stable(_ending(*shares), T).truth.name == expected


def test_a_diverged_run_is_the_opposite_of_stable_in_any_number_of_seeds() -> None:
    study = members({("R", ()): Spec()}, range(3))
    broken = member("R", {}, 1, Spec(status="diverged"))
    one = cell_of(replace(study, runs=(study.runs[0], broken, study.runs[2])), "R", {})
    assert atoms.stable(one, T).truth.name == "NO"


def test_margins_of_a_label() -> None:
    d, proxy, p = atoms.over(cell(OVER), T).numbers
    assert d.value == pytest.approx(-0.3)
    assert d.se is not None and d.margin == pytest.approx(0.3 - 2 * d.se)
    assert proxy.value == pytest.approx(2)
    assert p.threshold == pytest.approx(0.0228, abs=1e-4)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (AT_ONCE, "YES"),
        (OVER, "NO"),  # above SFT at 37.5 %, below it later
        ({"wins": (SFT_WINS, 0.9)}, "NO"),
        (FLAT, "UNCLEAR"),
        ({"wins": (SFT_WINS, 0.1, 0.9, 0.9)}, "YES"),  # once is enough
    ],
)
def test_early(change: dict, expected: str) -> None:  # type: ignore[type-arg]
    assert atoms.early(cell(change), T).truth.name == expected


def test_half_of_the_training_itself_is_not_early() -> None:
    """Win rates fall to .1 between 37.5 and 50 % of the training: steps 30 and 40 of 80."""
    dropping = {"wins": (SFT_WINS, SFT_WINS, SFT_WINS, SFT_WINS, 0.1, 0.1, 0.1, 0.1, 0.1)}
    assert atoms.early(cell(dropping), T).truth.name == "UNCLEAR"


def test_comparable_means_within_three_points_or_two_standard_errors() -> None:
    a, near, far = cells(a=0.7, near=0.72, far=0.9)
    assert atoms.comparable(a, near, T).truth.name == "YES"
    assert atoms.comparable(a, far, T).truth.name == atoms.comparable(far, a, T).truth.name == "NO"
    assert atoms.not_worse(far, a, T).truth.name == "YES"
    assert atoms.not_worse(a, far, T).truth.name == "NO"
    number = atoms.comparable(a, far, T).numbers[0]
    assert number.value == pytest.approx(-0.2)
    assert number.margin == pytest.approx(max(2 * (number.se or 0), 0.03) - 0.2)


def test_three_points_are_comparable_however_precisely_they_are_known() -> None:
    """Two, then four of 100 prompts that only one of them wins: .02 and .04 with standard errors of .006 and .009."""
    for lost, expected in ((2, "YES"), (4, "NO")):
        study = members({("A", ()): Spec(), ("B", ()): Spec()})
        a, b = cell_of(study, "A", {}), cell_of(study, "B", {})
        for run, other in zip(a.runs, b.runs, strict=True):
            won = run.won[80]
            flipped = [prompt for prompt, outcome in won.items() if outcome == 1][:lost]
            other.won[80] = {**won, **dict.fromkeys(flipped, 0.0)}  # type: ignore[index]
        assert atoms.comparable(a, b, T).truth.name == expected
        assert atoms.not_worse(b, a, T).truth.name == expected


def test_cells_without_seeds_in_common_are_not_compared() -> None:
    study = joined(members({("A", ()): Spec()}, (0, 1)), members({("B", ()): Spec()}, (2, 3)))
    a, b = cell_of(study, "A", {}), cell_of(study, "B", {})
    for test in (atoms.comparable, atoms.not_worse):
        assert test(a, b, T).truth.name == "UNTESTED"
    for best in (atoms.no_gain, atoms.gain, atoms.best_is_below, atoms.best_is_comparable):
        assert best([a], b, T).truth.name == "UNTESTED"


@pytest.mark.parametrize(
    ("rates", "no_gain", "gain", "comparable", "below"),
    [
        ((0.7, 0.7, 0.7), "YES", "UNCLEAR", "YES", "UNCLEAR"),
        ((0.7, 0.7, 0.9), "NO", "YES", "NO", "NO"),
        ((0.5, 0.4, 0.5), "YES", "UNCLEAR", "UNCLEAR", "YES"),
        ((0.5, 0.4, 0.71), "YES", "UNCLEAR", "YES", "UNCLEAR"),
    ],
)
def test_the_best_of_several_against_one(
    rates: tuple[float, ...], no_gain: str, gain: str, comparable: str, below: str
) -> None:
    plan: Plan = {("A", (("coef", float(i)),)): Spec(wins=(SFT_WINS, rate)) for i, rate in enumerate(rates)}
    study = members({**plan, ("B", ()): Spec()})
    several, other = cells_of(study, "A"), cell_of(study, "B", {})
    tests = (atoms.no_gain, atoms.gain, atoms.best_is_comparable, atoms.best_is_below)
    assert [test(several, other, T).truth.name for test in tests] == [no_gain, gain, comparable, below]


def test_margins_of_a_gain_have_its_sign() -> None:
    low, high = cells(low=0.7, high=0.9)
    (gained,), (none,) = atoms.gain([high], low, T).numbers, atoms.no_gain([high], low, T).numbers
    assert gained.margin is not None and gained.margin > 0
    assert none.margin == -gained.margin


def test_the_choice_of_the_best_costs_significance() -> None:
    """The more cells there are, the more likely a chance difference of the best: its p grows with each."""
    plan: Plan = {("A", (("coef", float(i)),)): Spec(wins=(SFT_WINS, 0.74)) for i in range(8)}
    study = members({**plan, ("B", ()): Spec()}, (100,))
    several, other = cells_of(study, "A"), cell_of(study, "B", {})
    bests = [best_against(several[:n], other) for n in (1, 3, 8)]
    found = [best.p for best in bests if best is not None]
    assert all(a < b for a, b in pairwise(found))


def test_seeds_that_do_not_count_are_told() -> None:
    kept, gated = members({("R", ()): Spec()}, SEEDS[:3]), members({("R", ()): Spec(gate="closed")}, SEEDS[3:4])
    unjudged = members({("R", ()): Spec(judged=False)}, SEEDS[4:])
    found = atoms.good(cell_of(joined(kept, gated, unjudged), "R", {}), T)
    assert found.truth.name == "YES"
    assert len(found.runs) == 3
    assert found.qualifiers == ("gate failed for 1 of 5 seeds of R", "1 of 5 seeds of R have no label")
