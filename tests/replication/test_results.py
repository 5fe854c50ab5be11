"""What is written about a study, beside its runs and for publication."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from synthetic_study import members, only, paper

from overopt.replication.claims.check import check
from overopt.replication.exchange import read_study
from overopt.replication.results import PAPER, export, write_results


@pytest.fixture(autouse=True)
def without_theory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("overopt.theory.statements.verify", list)


def test_a_published_study_gives_the_same_claims_again(tmp_path: Path) -> None:
    study = replace(members(only(paper(), ["KL-1B", "KL-relaxed-1B"]), (100, 101)), study=PAPER)
    lines = list(export(study, tmp_path))
    assert lines[0].startswith(f"runs: {len(study.runs)} in 0.") and lines[0].endswith(" MB of Parquet")
    written: list[dict[str, Any]] = json.loads((tmp_path / "claims.json").read_bytes())
    assert json.loads(json.dumps([row.row() for row in check(read_study(tmp_path))])) == written
    verdicts = {row["id"]: row["verdict"] for row in written}
    assert (verdicts["C18"], verdicts["C17"]) == ("replicated", "not tested")
    assert "| KL-1B | - | GOOD 2 |" in (tmp_path / "tables.md").read_text()
    assert (tmp_path / "figures.html").is_file() and (tmp_path / "figures" / "figure-3.pdf").is_file()


def test_a_study_of_another_subject_has_neither_claims_nor_figures(tmp_path: Path) -> None:
    study = replace(members(only(paper(), ["KL-1B"]), (100,)), study="demo")
    assert list(write_results(study, tmp_path)) == [f"tables: {tmp_path / 'tables.md'}"]
    assert [file.name for file in tmp_path.iterdir()] == ["tables.md"]
