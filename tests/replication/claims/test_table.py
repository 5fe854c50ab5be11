from __future__ import annotations

import io

import pytest
from synthetic_study import FLAT, changed, members, only, paper

from overopt.replication.claims.check import ClaimRow, check
from overopt.replication.claims.study import Study
from overopt.replication.claims.table import footer, print_claims, seeds


@pytest.fixture(scope="module")
def rows() -> list[ClaimRow]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Study, "checks", [])
        plan = changed(only(paper(), ["KL-1B", "KL-2.8B"]), "KL-2.8B", FLAT)
        return check(members(plan, (100, 101)))


def test_a_claim_has_its_verdict_its_seeds_its_statement_and_its_reason(rows: list[ClaimRow]) -> None:
    out = io.StringIO()
    print_claims(rows, "The claims", out)
    lines = out.getvalue().splitlines()
    assert lines[0] == "The claims"
    assert lines[1].rstrip() == "scaled: miniature sizes stand for 1B, 2.8B and 6.9B"
    place = next(i for i, line in enumerate(lines) if line.startswith("C18 "))
    assert lines[place].split()[:3] == ["C18", "replicated", "2/2"]
    assert "KL-constrained RL works at 1B, too" in lines[place]
    assert "KL-1B: GOOD (win rate 0.95, +0.55" in lines[place + 1]
    assert [line for line in lines if line in ("Theory", "Online", "Offline")] == ["Theory", "Online", "Offline"]
    assert max(map(len, lines)) <= 120
    assert "\x1b" not in out.getvalue()


def test_parts_are_indented_below_their_claim(rows: list[ClaimRow]) -> None:
    out = io.StringIO()
    print_claims(rows, "", out)
    lines = [
        line
        for line in out.getvalue().splitlines()
        if line.split()[:1] and line.split()[0].startswith("C24") and line.startswith(("C", "  C"))
    ]
    assert [line[: len(line) - len(line.lstrip())] for line in lines] == ["", "  ", "  ", "  "]


def test_the_footer_counts_verdicts_and_chance(rows: list[ClaimRow]) -> None:
    said = footer(rows)
    assert said[0] == "44 claims: 1 inconclusive, 1 replicated, 42 not tested."  # C17, C18
    # C17, C18, C24.1B and C24.2.8B: 4.55 % of four; of Student's t with one degree of freedom, 2 leaves 29.5 %
    assert said[1].startswith("4 tests stand behind the claims about runs.")
    assert "about 0.2 (seeds alike) to 1.2 (only the 2 seeds differ) of them" in said[1]
    assert "bench/false_positives.md" in said[2]
    assert "2 of 2 leaves a 95 % interval of 34% to 100%" in said[3]


def test_seeds_of_theory_and_of_what_no_seed_could_test(rows: list[ClaimRow]) -> None:
    by_id = {row.claim.id: row for row in rows}
    assert (seeds(by_id["C1"]), seeds(by_id["C10"]), seeds(by_id["C17"])) == ("", "", "0/2")
