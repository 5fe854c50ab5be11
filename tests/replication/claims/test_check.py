"""All claims at once: their rows, shares of seeds, and what each of them cannot do without."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from claim_cases import BY_ID, NEEDED, base, found, verdict
from synthetic_study import FLAT, OVER, SEEDS, changed, joined, members, only, paper, without, without_series

from overopt.config import addresses
from overopt.errors import UserError
from overopt.replication.claims.check import GROUPS, ClaimRow, check, share
from overopt.replication.claims.study import Study
from overopt.replication.claims.thresholds import Thresholds
from overopt.replication.exchange import read_study, write_exchange
from overopt.replication.members import Members


@pytest.fixture(autouse=True)
def _no_theory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Study, "checks", [])


def rows(study: Members) -> dict[str, ClaimRow]:
    return {row.claim.id: row for row in check(study)}


def test_the_claims_of_the_paper_in_their_order() -> None:
    own = [claim.id for claims in GROUPS.values() for claim in claims]
    assert own == [f"C{i}" for i in range(1, 45)]
    assert list(GROUPS) == ["Theory", "Online", "Offline"]
    assert len(BY_ID) == len([row for claims in GROUPS.values() for claim in claims for row in claim.rows()])
    for name, claim in BY_ID.items():
        assert claim.statement and claim.test, name
        assert all(part.id.startswith(f"{name}.") for part in claim.parts)


def test_a_study_that_bears_out_the_paper() -> None:
    verdicts = {name: row.verdict for name, row in rows(members(paper(), (100,))).items() if row.group != "Theory"}
    assert set(verdicts.values()) == {"replicated"}, {name: v for name, v in verdicts.items() if v != "replicated"}


def test_a_study_without_any_run() -> None:
    empty = rows(Members("s", "miniature", (), ()))
    assert {row.verdict for row in empty.values()} == {"not tested"}
    planned = rows(Members("s", "miniature", (), members(paper(), (100,)).planned))
    assert {row.verdict for row in planned.values()} == {"not tested"}


OF_ONE_SETTING = {"C41": {"gamma": 0.0}, "C30": {"clip": 1e-4}}
"""Claims about a single setting of a row."""


@pytest.mark.parametrize("claim", NEEDED)
def test_every_row_that_a_claim_needs(claim: str) -> None:
    """Not part of the study, or one setting not begun; for fewer rows also all of them, or a closed gate."""
    plan = base(claim)
    rows_needed = NEEDED[claim][0]
    for row in rows_needed:
        last = [dict(setting) for name, setting in plan if name == row][-1]
        lacking = [{key: spec for key, spec in plan.items() if key[0] != row}]
        lacking += [without(plan, row, **(OF_ONE_SETTING.get(claim, last) if row != "DPO-1B" else {}))]
        if len(rows_needed) < 5:
            lacking += [without(plan, row), changed(plan, row, {"gate": "no better than length"})]
        for broken in lacking:
            finding = found(claim, broken, (100,))
            assert finding.truth.value == "not tested", (row, finding.reason)
            assert finding.reason


@pytest.mark.parametrize("claim", [claim for claim in NEEDED if NEEDED[claim][1]])
def test_every_metric_that_a_claim_needs(claim: str) -> None:
    for metric in NEEDED[claim][1]:
        plan = base(claim)
        for row in NEEDED[claim][0]:
            plan = without_series(plan, row, metric)
        assert verdict(claim, plan, (100,)) == "not tested", metric


def test_the_likelihood_of_references_is_needed() -> None:
    study = members(base("C29"), (100,))
    for run in study.runs:
        for row in run.evaluations:
            del row["ref_summary_logp_mean"]  # type: ignore[attr-defined]
    assert verdict("C29", study) == "not tested"
    assert "is not recorded" in found("C29", study).reason


def test_a_claim_reads_no_other_rows() -> None:
    whole = Study(members(paper(), (100,)))
    for claim, (needed, _) in NEEDED.items():
        read = {run.rpartition("-seed")[0] for run in BY_ID[claim].finding(whole).runs}
        assert all(any(run.startswith(row) for row in needed) for run in read), claim


def test_the_share_of_seeds() -> None:
    fine, bad = members(only(paper(), ["KL-1B"]), SEEDS[:3]), changed(only(paper(), ["KL-1B"]), "KL-1B", FLAT)
    row = rows(joined(fine, members(bad, SEEDS[3:])))["C18"]
    assert row.seeds == (3, 5)
    # Wilson's interval of 3 of 5
    assert row.row()["seeds"] == {"held": 3, "tested": 5, "low": 0.231, "high": 0.882}
    assert share(0, 0) == {"held": 0, "tested": 0}


def test_seeds_without_a_label_are_not_among_the_tested() -> None:
    plan = only(paper(), ["KL-1B"])
    gated = members(changed(plan, "KL-1B", {"gate": "closed"}), SEEDS[4:])
    row = rows(joined(members(plan, SEEDS[:4]), gated))["C18"]
    assert (row.verdict, row.seeds) == ("replicated", (4, 4))
    assert "gate failed for 1 of 5 seeds of KL-1B" in row.reason


def test_seeds_that_disagree_weigh_in_one_difference() -> None:
    """Three seeds far above SFT and two far below: the spread over seeds leaves nothing."""
    plan = only(paper(), ["KL-1B"])
    worse = members(changed(plan, "KL-1B", OVER), SEEDS[3:])
    row = rows(joined(members(plan, SEEDS[:3]), worse))["C18"]
    assert (row.verdict, row.seeds) == ("inconclusive", (3, 5))


def test_a_row_as_json() -> None:
    row = rows(members(only(paper(), ["KL-1B"]), (100,)))["C18"].row()
    assert list(row) == ["id", "statement", "verdict", "reason", "numbers", "runs", "seeds"]
    assert (row["id"], row["verdict"], row["runs"]) == ("C18", "replicated", ["KL-1B-seed=100"])
    assert row["reason"].endswith("[scaled: miniature sizes stand for 1B, 2.8B and 6.9B; one seed]")
    assert row["seeds"] == {"held": 1, "tested": 1, "low": 0.207, "high": 1.0}
    assert {"what", "value", "se", "threshold", "margin"} == set(row["numbers"][0])
    json.dumps(row, allow_nan=False)


def test_a_study_and_its_parquet_files_give_the_same(tmp_path: Path) -> None:
    study = members(only(paper(), ["KL-1B", "ME-1B-1e-7"]), (100,))
    write_exchange(study, tmp_path / "parquet")
    again = rows(read_study(tmp_path / "parquet"))
    assert {name: row.verdict for name, row in again.items()} == {
        name: row.verdict for name, row in rows(study).items()
    }
    with pytest.raises(UserError, match=r"members\.json"):
        read_study(tmp_path)


def test_the_page_of_the_documentation_has_every_claim_and_every_threshold() -> None:
    page = (Path(__file__).parents[3] / "docs" / "claims.md").read_text("utf-8")
    told = re.findall(r"^\| (C\d+\S*) \| (.*) \| (.*) \|$", page, re.MULTILINE)
    assert [tuple(cell.replace("\\|", "|") for cell in row) for row in told] == [
        (claim.id, claim.statement, claim.test) for claim in BY_ID.values()
    ]
    flags = dict(re.findall(r"^\| `([\w.]+)` \| (\S+) \|", page, re.MULTILINE))
    assert {name: float(value) for name, value in flags.items()} == addresses(Thresholds())
