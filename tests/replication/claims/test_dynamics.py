from __future__ import annotations

import math
from functools import partial

import pytest
from synthetic_study import SEEDS, Curve, Plan, Spec, joined, members

from overopt.replication.cells import Cell, cell_of, cells_of
from overopt.replication.claims import dynamics
from overopt.replication.claims.logic import Truth
from overopt.replication.claims.thresholds import Thresholds

T = Thresholds()
CONSTANT = Curve(1e-3, 1e-3, noise=0.0)


def cell(seeds: tuple[int, ...] = SEEDS, **series: Curve) -> Cell:
    return cell_of(members({("R", ()): Spec(series={"lr": CONSTANT, **series})}, seeds), "R", {})


UP, DOWN, STILL = Curve(1, 2), Curve(2, 1), Curve(1, 1)


@pytest.mark.parametrize(
    ("wanted", "truths"),
    [("up", ["YES", "NO", "UNCLEAR"]), ("down", ["NO", "YES", "UNCLEAR"]), ("not up", ["NO", "YES", "YES"])],
)
def test_trends(wanted: dynamics.Wanted, truths: list[str]) -> None:
    found = [dynamics.trends(cell(m=curve), T, metric="m", wanted=wanted) for curve in (UP, DOWN, STILL)]
    assert [one.truth.name for one in found] == truths
    assert [one.numbers[0].value for one in found[:2]] == [pytest.approx(1), pytest.approx(-1)]


def test_margins_of_a_trend_have_its_sign() -> None:
    up = dynamics.trends(cell(m=UP), T, metric="m", wanted="up").numbers[0]
    not_up = dynamics.trends(cell(m=UP), T, metric="m", wanted="not up").numbers[0]
    down = dynamics.trends(cell(m=UP), T, metric="m", wanted="down").numbers[0]
    assert (up.margin, not_up.margin, down.margin) == tuple(pytest.approx(x) for x in (0.7, -0.7, -1.3))


def test_a_metric_that_was_not_recorded() -> None:
    tests = (
        partial(dynamics.trends, metric="m", wanted="up"),
        partial(dynamics.trends_by_lr2, metric="m", wanted="up"),
        *(dynamics.levels_off, dynamics.grows_steadily, dynamics.accelerates),
        *(dynamics.bounded, dynamics.drifts, dynamics.drifts_by_lr2),
    )
    for test in tests:
        found = test(cell(), T)
        assert found.truth.name == "UNTESTED"
        assert "is not recorded" in found.reason


@pytest.mark.parametrize(
    ("value", "by_seed", "limits", "expected"),
    [
        (0.8, [0.8, 0.8], {"at_least": 0.7}, Truth.YES),
        (0.6, [0.5, 0.7], {"at_least": 0.7}, Truth.UNCLEAR),  # se .1
        (0.6, [0.59, 0.61], {"at_least": 0.7}, Truth.NO),  # se .01
        (0.6, [0.6], {"at_least": 0.7}, Truth.UNCLEAR),  # one seed has no spread
        (0.6, [0.6, 0.6], {"at_most": 0.7}, Truth.YES),
        (0.8, [0.79, 0.81], {"at_most": 0.7}, Truth.NO),
        (0.8, [0.7, 0.9], {"at_most": 0.7}, Truth.UNCLEAR),
        (-0.3, [-0.3, -0.3], {"at_most": -0.6, "opposite": 0.0}, Truth.UNCLEAR),  # too weak, yet not opposite
        (0.3, [0.3, 0.3], {"at_most": -0.6, "opposite": 0.0}, Truth.NO),
        (1.2, [1.2, 1.2], {"at_least": 1.5, "opposite": 1.0}, Truth.UNCLEAR),
        (0.8, [0.8, 0.8], {"at_least": 1.5, "opposite": 1.0}, Truth.NO),
        (math.nan, [math.nan, 1.0], {"at_least": 0.7}, Truth.UNCLEAR),
        (math.inf, [math.inf], {"at_least": 0.7}, Truth.YES),
    ],
)
def test_beyond_a_threshold(value: float, by_seed: list[float], limits: dict[str, float], expected: Truth) -> None:
    truth, number = dynamics.beyond("x", value, by_seed, T, **limits)  # type: ignore[arg-type]
    assert truth is expected
    if math.isfinite(value):
        sign = 1 if "at_least" in limits else -1
        assert number.margin == pytest.approx(sign * (value - number.threshold))  # type: ignore[operator]


def test_the_spread_is_that_of_the_seeds_own_values() -> None:
    study = joined(members({("R", ()): Spec(series={"m": Curve(0, 2, noise=0.0)})}, (0,)),
                   members({("R", ()): Spec(series={"m": Curve(0, 4, noise=0.0)})}, (1,)))  # fmt: skip
    found = dynamics.passes(cell_of(study, "R", {}), T, "end", dynamics.ended("m"), at_least=3.5)
    # ends of 2 * 78/80 and 4 * 78/80; standard error .975
    assert (found.numbers[0].value, found.numbers[0].se) == (pytest.approx(2.925), pytest.approx(0.975))
    assert found.truth.name == "UNCLEAR"


def test_a_threshold_that_is_barely_passed_is_told() -> None:
    def limits(value: float, by_seed: list[float]) -> tuple[str, ...]:
        return dynamics.near(dynamics.beyond("x", value, by_seed, T, at_least=0.7)[1], T)

    assert limits(0.8, [0.7, 0.9]) == ("x passes its threshold by less than 2 SE",)  # se .1
    assert limits(0.8, [0.79, 0.81]) == limits(0.8, [0.8]) == limits(0.6, [0.5, 0.7]) == ()


@pytest.mark.parametrize(
    ("test", "metric", "curve", "expected"),
    [
        (dynamics.levels_off, "kl_ref", Curve(0, 5, "early"), "YES"),
        (dynamics.levels_off, "kl_ref", Curve(0, 5), "NO"),
        # at 73 % by half, though its late slope is 54/146 = .37 of the early one
        (dynamics.levels_off, "kl_ref", Curve(0, 5, "bent", 0.001), "NO"),
        (dynamics.grows_steadily, "kl_ref", Curve(0, 5), "YES"),
        (dynamics.grows_steadily, "kl_ref", Curve(0, 5, "early"), "NO"),
        (dynamics.accelerates, "kl_ref", Curve(0, 5, "late"), "YES"),
        (dynamics.accelerates, "kl_ref", Curve(0, 5, "early"), "NO"),
        (dynamics.bounded, "kl_prev", STILL, "YES"),
        (dynamics.bounded, "kl_prev", UP, "NO"),
        (dynamics.bounded, "kl_prev", Curve(1, 4, "hump"), "NO"),
        (dynamics.drifts, "kl_prev", Curve(1, 2), "YES"),
        (dynamics.drifts, "kl_prev", Curve(1, 1.3), "UNCLEAR"),
        (dynamics.drifts, "kl_prev", DOWN, "NO"),
        (dynamics.drifts_by_lr2, "kl_prev", Curve(1, 2), "YES"),
    ],
)
def test_shapes(test: partial, metric: str, curve: Curve, expected: str) -> None:  # type: ignore[type-arg]
    assert test(cell(**{metric: curve}), T).truth.name == expected


def test_a_decaying_rate_is_no_saturation() -> None:
    decaying = {"lr": Curve(1e-3, 0, noise=0.0)}
    over_steps = Curve(0, 5, "line")
    assert dynamics.levels_off(cell(kl_ref=over_steps, **decaying), T).truth.name == "NO"
    # half of the learning is done by 1 - sqrt(1/2) of the steps, and the end is that of the last 5 of 80 steps
    assert dynamics.half_learned(cell(kl_ref=over_steps, **decaying)) == pytest.approx(0.293 / 0.975, abs=0.01)
    squared = dynamics.by_lr2(cell(kl_prev=Curve(1, 1, noise=0.0), **decaying), "kl_prev")
    assert squared[1][0] == pytest.approx(1 / (1e-3 * 79 / 80) ** 2)
    assert len(squared[0]) == 79  # the last rate is 0


def grid(count: int) -> list[Cell]:
    plan: Plan = {("R", (("coef", float(i)),)): Spec(wins=(0.4, 0.1 + 0.1 * i)) for i in range(count)}
    return cells_of(members(plan, (0,)), "R")


def test_rank_correlations_over_cells() -> None:
    cells = grid(8)
    d = [cell.difference.mean for cell in cells]
    assert dynamics.rank_correlation(cells, T, "x", [-x for x in d], d).truth.name == "YES"
    assert dynamics.rank_correlation(cells, T, "x", d, d).truth.name == "NO"
    assert dynamics.rank_correlation(cells, T, "x", [1.0] * 8, d).truth.name == "UNCLEAR"
    assert dynamics.rank_correlation(cells[:2], T, "x", [2, 1], d[:2]).truth.name == "UNTESTED"
    # of three points no order is unlikely: 2 of 6 are as extreme
    assert dynamics.rank_correlation(cells[:3], T, "x", [3, 2, 1], d[:3]).truth.name == "UNCLEAR"


def test_falls_of_two_groups() -> None:
    cells = grid(6)
    falls = {cell.name: fall for cell, fall in zip(cells, (3.0, 3.1, 2.9, 1.0, 0.9, 1.1), strict=True)}

    def truth(scale: float, worse: list[Cell], better: list[Cell]) -> str:
        def fall(cell: Cell) -> float:
            return falls[cell.name] * (scale if cell in worse else 1)

        return dynamics.falls_more(worse, better, T, "x", fall).truth.name

    assert truth(1.0, cells[:3], cells[3:]) == "YES"
    assert truth(0.9, cells[:3], cells[3:]) == "UNCLEAR"  # more, though less than three times as much
    assert truth(0.2, cells[:3], cells[3:]) == "NO"
    assert truth(1.0, [], cells[3:]) == truth(1.0, cells[:3], []) == "UNTESTED"
