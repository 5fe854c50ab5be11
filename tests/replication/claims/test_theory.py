"""Verdicts of C1 to C9 from checks that hold, that fail, and that are missing."""

from __future__ import annotations

import pytest
from claim_cases import BY_ID

from overopt.replication.claims.study import Study
from overopt.replication.claims.theory import THEORY
from overopt.replication.members import Members
from overopt.theory.checks import Check

NEEDED = {
    "C1": {"T3", "T10"},
    "C2": {"T1", "T2"},
    "C3": {"T4"},
    "C4": {"T5"},
    "C5": {"T6", "T15"},
    "C6": {"T7"},
    "C7": {"T8"},
    "C8": {"T9"},
    "C9": {"T11", "T12", "T14"},
}
ALL = [f"T{i}" for i in range(1, 17)]


def study(*broken: str, without: str = "") -> Study:
    found = Study(Members("s", "miniature", (), ()))
    names = [f"{name}.{part}" for name in ALL if name != without for part in "ab"]
    found.checks = [
        Check(name, "said", 1.0 if name.split(".")[0] in broken and name.endswith("b") else 0.0, 0.1) for name in names
    ]
    return found


def verdict(claim: str, *broken: str, without: str = "") -> str:
    return BY_ID[claim].finding(study(*broken, without=without)).truth.value


@pytest.mark.parametrize("claim", NEEDED)
def test_all_checks_hold(claim: str) -> None:
    assert verdict(claim) == "replicated"


@pytest.mark.parametrize("claim", [claim for claim in NEEDED if claim != "C9"])
def test_a_claim_falls_with_each_of_its_statements_and_with_no_other(claim: str) -> None:
    for statement in ALL:
        assert verdict(claim, statement) == ("contradicted" if statement in NEEDED[claim] else "replicated"), statement


@pytest.mark.parametrize("claim", NEEDED)
def test_a_statement_that_is_not_checked(claim: str) -> None:
    for statement in ALL:
        assert (verdict(claim, without=statement) == "not tested") == (statement in NEEDED[claim])


def test_the_three_readings_of_the_last_claim() -> None:
    assert [verdict(f"C9.{name}") for name in ("T11", "T12", "T14")] == ["inconclusive", "replicated", "contradicted"]
    assert verdict("C9", "T12") == "inconclusive"  # true up to lengths is left
    assert verdict("C9", "T11", "T12") == "contradicted"
    assert verdict("C9.T14", "T14") == "inconclusive"


def test_the_residual_is_told_with_its_tolerance() -> None:
    numbers = BY_ID["C3"].finding(study("T4")).numbers
    assert [(n.value, n.threshold, n.margin) for n in numbers] == [(0.0, 0.1, 0.1), (1.0, 0.1, -0.9)]


def test_every_statement_that_a_claim_rests_on_is_named_in_its_test() -> None:
    for claim in THEORY[:-1]:
        assert all(name in claim.test for name in NEEDED[claim.id])
