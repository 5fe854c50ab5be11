from __future__ import annotations

from claim_cases import MAXENT as ROWS
from synthetic_study import FLAT, SEEDS, Plan, Spec, changed, members, only, paper, without

from overopt.replication.claims.atoms import good
from overopt.replication.claims.study import MAXENT, PILOT, Study, maxent, with_entropy


def study(plan: Plan, seeds: tuple[int, ...] = SEEDS, scale: str = "miniature") -> Study:
    return Study(members(plan, seeds, scale))


GRID: Plan = {("R", (("coef", coef),)): Spec() for coef in (0.0, 0.1, 0.2, 0.3)}


def test_cells_of_a_row_are_made_once_and_found_by_their_settings() -> None:
    one = study(GRID)
    assert one.row("R") is one.row("R")
    assert one.cell("R", coef=0.2) is one.row("R")[2]
    assert "not part of the study" in str(one.cell("R", coef=0.7).problem)
    assert [cell.setting["coef"] for cell in one.nonzero(["R"])] == [0.1, 0.2, 0.3]


def test_every_needs_three_values_and_0() -> None:
    assert study(GRID).every("R", good).truth.value == "replicated"
    assert study(changed(GRID, "R", FLAT, coef=0.0)).every("R", good).truth.value == "inconclusive"
    assert study(without(GRID, "R", coef=0.1)).every("R", good).truth.value == "not tested"
    no_zero = {key: spec for key, spec in GRID.items() if key[1] != (("coef", 0.0),)}
    assert study(no_zero).too_small("R") == "grid too small: R lacks coef 0"
    assert study(no_zero).every("R", good, zero=False).truth.value == "replicated"
    assert study({**dict(list(GRID.items())[:3])}).too_small("R") is not None


def test_only_some_values() -> None:
    plan = changed(GRID, "R", FLAT, coef=0.0)
    found = study(plan).every("R", good, only=lambda cell: bool(cell.setting["coef"]))
    assert found.truth.value == "replicated"


def test_rows_of_the_paper() -> None:
    assert set(MAXENT) == set(ROWS) and maxent("2.8B", "1e-6") == PILOT
    cells, problem = with_entropy(study(only(paper(), ROWS)))
    assert problem is None
    assert len(cells) == 3 * 7 and all(cell.setting["coef"] for cell in cells)
    assert with_entropy(study(without(only(paper(), ROWS), PILOT, coef=0.1)))[1] is not None


def test_what_limits_every_claim() -> None:
    assert study(GRID).qualifiers == ("scaled: miniature sizes stand for 1B, 2.8B and 6.9B",)
    assert study(GRID, (0,), "pythia").qualifiers == ("one seed",)
    assert study(GRID, (0,), "quick").qualifiers == ("quick: one size stands for 1B, 2.8B and 6.9B", "one seed")


def test_thresholds_change_what_is_too_small() -> None:
    from overopt.config import load
    from overopt.replication.claims.thresholds import Thresholds

    strict = load(Thresholds, {}, [("grid.nonzero", "4")])
    assert Study(members(GRID), strict).too_small("R") is not None
