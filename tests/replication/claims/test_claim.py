from __future__ import annotations

from overopt.replication.cells import Cell
from overopt.replication.claims.claim import Claim, Rule, every, single
from overopt.replication.claims.logic import Finding, Truth, untested
from overopt.replication.claims.study import Study
from overopt.replication.claims.thresholds import Thresholds
from overopt.replication.members import Members


def said(truth: Truth, calls: list[str]) -> Rule:
    def rule(_: Study) -> Finding:
        calls.append(truth.name)
        return Finding(truth, truth.name.lower())

    return rule


def study() -> Study:
    return Study(Members("s", "miniature", (), ()))


def test_a_claim_without_a_rule_holds_if_the_parts_do_that_count() -> None:
    calls: list[str] = []
    parts = (
        Claim("C1.a", "", "", said(Truth.YES, calls)),
        Claim("C1.b", "", "", said(Truth.UNCLEAR, calls)),
        Claim("C1.c", "", "", said(Truth.NO, calls), counts=False),
    )
    whole = Claim("C1", "", "", None, parts)
    found = whole.finding(study())
    assert (found.truth, found.reason) == (Truth.UNCLEAR, "C1.b: unclear")
    assert calls == ["YES", "UNCLEAR"]
    assert [claim.id for claim in whole.rows()] == ["C1", "C1.a", "C1.b", "C1.c"]


def test_a_finding_is_found_once_a_study() -> None:
    calls: list[str] = []
    claim, one = Claim("C1", "", "", said(Truth.YES, calls)), study()
    assert claim.finding(one) is claim.finding(one)
    claim.finding(study())
    assert len(calls) == 2


def test_rules_about_rows_that_a_study_lacks() -> None:
    def test(cell: Cell, _: Thresholds) -> Finding:
        return untested(str(cell.problem))

    for rule in (single("KL-1B", test), every("KL-1B", test)):
        assert rule(study()).truth is Truth.UNTESTED
        assert "KL-1B is not part of the study" in rule(study()).reason
