import math

import pytest

from overopt.errors import UserError
from overopt.outcomes import Outcome
from overopt.replication.members import CLOSED_GATE, Member, Members, Setting
from overopt.replication.spread import measure


def run(row: str, setting: Setting, seed: int, first: str, last: str, reason: str = "") -> Member:
    """Outcomes of prompts 0, 1, ... at steps 0 and 80: a digit each, 1 for a win."""
    won = {step: {str(i): float(x) for i, x in enumerate(text)} for step, text in ((0, first), (80, last))}
    return Member(f"{row}-{seed}", row, setting, seed, "online", "finished", {}, Outcome(None, reason), won=won)


RUNS = (
    run("A", {"coef": 0.5}, 0, "0000", "1111"),
    run("A", {"coef": 0.5}, 1, "0000", "1100"),
    run("A", {"coef": 0.5}, 2, "0000", "1000"),
    run("A", {"coef": 0.5}, 3, "0000", "1111", CLOSED_GATE + "no better than counting"),
    run("B", {}, 0, "1111", "1000"),
    run("B", {}, 1, "1111", "1100"),
    run("B", {}, 2, "1111", "0000"),
    run("B", {}, 3, "1111", "0000"),
    run("C", {"coef": 0.5, "name": "x"}, 0, "0", "1"),
    run("C", {"coef": 1.0, "name": "x"}, 0, "0", "1"),
)
STUDY = Members("s", "miniature", RUNS, tuple((r.row, r.setting, r.seed) for r in RUNS))


@pytest.mark.parametrize("name", ["A", "A:coef=0.5", "A:coef=5e-1"])
def test_two_runs_over_seeds_by_hand(name: str) -> None:
    """Differences of .75, 0 and .25, with variances of .25, 0 and .25 within four prompts.

    They vary by .1458 between seeds, of which .1667 / 4 is due to prompts. For the interval chi^2 with two degrees of
    freedom has the quantiles -2 log .025 and -2 log .975.
    """
    found = measure(STUDY, name, "B")
    assert (found.seeds, found.prompts, found.base) == ((0, 1, 2), 4, 0.25)
    assert found.comparison.difference == pytest.approx(1 / 3)
    assert found.comparison.sd_prompts**2 == pytest.approx(1 / 6)
    between, prompts = 7 / 48, 1 / 24
    assert found.comparison.sd_seeds**2 == pytest.approx(between - prompts)
    assert found.sd_high**2 == pytest.approx(2 * between / (-2 * math.log(0.975)) - prompts)
    assert found.sd_low == 0  # .1458 * 2 / 7.38 is less than what prompts add
    assert found.title() == (
        f"{name} against B, over 3 seeds\nmeasured: +0.333 from a win rate of 0.250; sd over seeds 0.323"
        " (95 %: 0.000 to 2.391)"
    )
    assert found.row()["seeds"] == [0, 1, 2] and found.row()["sd_seeds_high"] == found.sd_high


def test_one_run_against_its_own_start() -> None:
    found = measure(STUDY, "B")
    assert found.comparison.difference == pytest.approx(-(0.75 + 0.5 + 1 + 1) / 4)
    assert (found.base, found.runs[1], found.seeds) == (1, "its own first evaluation", (0, 1, 2, 3))


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        (["D"], "D: no row of this study; it has A, B, C"),
        (["C"], "C: fits several settings; name one of C:coef=0.5,name=x, C:coef=1,name=x"),
        (["C:name=x"], "C:name=x: fits several settings"),
        (["A:coef=2"], "A:coef=2: no setting of this row; name one of A:coef=0.5"),
        (["A:coef=a"], "A:coef=a: no setting of this row"),
        (["A:beta=2"], "A:beta=2: no setting of this row"),
        (["C:coef=1,name=x"], "share prompts under 1 seed; a spread over seeds takes two"),
    ],
)
def test_names_that_are_not_one_run(runs: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        measure(STUDY, *runs)
