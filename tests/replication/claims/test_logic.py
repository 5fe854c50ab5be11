from __future__ import annotations

import math
from itertools import product

import pytest

from overopt.replication.claims.logic import (
    Finding,
    Number,
    Truth,
    all_of,
    any_of,
    at_least,
    negated,
    quoted,
    untested,
    yes_no,
)

NO, UNCLEAR, YES, UNTESTED = Truth.NO, Truth.UNCLEAR, Truth.YES, Truth.UNTESTED
ORDER = [NO, UNCLEAR, YES]


def findings(*truths: Truth) -> list[Finding]:
    return [Finding(truth, f"reason {i}") for i, truth in enumerate(truths)]


@pytest.mark.parametrize(("a", "b"), [*product(ORDER, ORDER)])
def test_all_is_the_weakest_and_any_the_strongest(a: Truth, b: Truth) -> None:
    assert all_of(findings(a, b)).truth is min(a, b, key=ORDER.index)
    assert any_of(findings(a, b)).truth is max(a, b, key=ORDER.index)


@pytest.mark.parametrize("other", ORDER)
def test_a_missing_piece_leaves_the_whole_untested(other: Truth) -> None:
    for combine in (all_of, any_of, lambda found: at_least(0.5, found)):
        assert combine(findings(other, UNTESTED)).truth is UNTESTED
        assert combine(findings(UNTESTED)).truth is UNTESTED
        assert combine([]).truth is UNTESTED


@pytest.mark.parametrize(
    ("truths", "expected"),
    [
        ([YES] * 4 + [NO], YES),  # exactly 80 %
        ([YES] * 3 + [NO] * 2, NO),
        ([YES] * 3 + [UNCLEAR, NO], UNCLEAR),  # 80 % if the unclear one holds
        ([YES] * 3 + [UNCLEAR] * 2, UNCLEAR),
        ([UNCLEAR] * 3 + [NO] * 2, NO),  # at most 60 % could hold
    ],
)
def test_at_least_80_percent(truths: list[Truth], expected: Truth) -> None:
    found = at_least(0.8, findings(*truths))
    assert found.truth is expected
    assert found.numbers[0].value == truths.count(YES) / 5
    assert found.numbers[0].margin == pytest.approx(truths.count(YES) / 5 - 0.8)


def test_negation_leaves_what_is_unclear() -> None:
    assert [negated(one).truth for one in findings(NO, UNCLEAR, YES, UNTESTED)] == [YES, UNCLEAR, NO, UNTESTED]


def test_verdicts_have_the_names_that_users_see() -> None:
    assert [truth.value for truth in (YES, NO, UNCLEAR, UNTESTED)] == [
        "replicated",
        "contradicted",
        "inconclusive",
        "not tested",
    ]
    assert [yes_no(True, True), yes_no(False, True), yes_no(False, False)] == [YES, NO, UNCLEAR]


def test_a_reason_is_that_of_those_that_decide() -> None:
    found = all_of(findings(YES, NO, YES, NO, UNCLEAR, NO))
    assert found.reason == "2 of 6 hold: reason 1; reason 3; and 1 more"
    words = [Finding(YES, "long", brief="OVER"), Finding(YES, "longer", brief="OVER"), Finding(YES, "", brief="FLAT")]
    assert all_of(words).reason == "all 3: OVER or FLAT"
    assert all_of(findings(YES, NO)).reason == "reason 0; reason 1"
    assert all_of([*findings(NO), untested("no such run")]).reason == "no such run"
    assert quoted(["a", "a", "b", "c"]) == "a; b; and 1 more"


def test_numbers_runs_and_qualifiers_are_kept_once() -> None:
    a = Finding(YES, "", (Number("x", 1.0),), ("run-1", "run-2"), ("scaled",))
    b = Finding(YES, "", (Number("y", 2.0),), ("run-2",), ("scaled", "pilot"))
    both = all_of((a, b))
    assert [number.what for number in both.numbers] == ["x", "y"]
    assert (both.runs, both.qualifiers) == (("run-1", "run-2"), ("scaled", "pilot"))
    assert a.but("one seed").qualifiers == ("scaled", "one seed")


def test_a_number_as_json() -> None:
    assert Number("x", 1.0).row() == {"what": "x", "value": 1.0}
    assert Number("x", 1.0, 0.1, 0.5, 0.5).row() == {
        "what": "x",
        "value": 1.0,
        "se": 0.1,
        "threshold": 0.5,
        "margin": 0.5,
    }
    assert Number("x", math.nan, math.inf).row() == {"what": "x", "value": None, "se": None}
