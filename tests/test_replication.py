"""The published result in `docs/replication`: its claims follow from its Parquet, and its page tells them."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from overopt.replication.claims.check import check
from overopt.replication.claims.thresholds import Thresholds
from overopt.replication.exchange import read_study
from overopt.replication.results import PAPER

DOCS = Path(__file__).parents[1] / "docs"
PUBLISHED = DOCS / "replication"
MEGABYTES = 5


@cache
def written() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((PUBLISHED / "claims.json").read_bytes())
    return rows


def test_the_claims_follow_from_the_parquet() -> None:
    rows = [row.row() for row in check(read_study(PUBLISHED), Thresholds())]
    assert [(row["id"], row["verdict"], row["seeds"]) for row in rows] == [
        (row["id"], row["verdict"], row["seeds"]) for row in written()
    ]
    assert len([row for row in rows if "." not in row["id"]]) == 44


def test_it_is_the_reported_study_of_one_commit() -> None:
    study = read_study(PUBLISHED)
    assert (study.study, study.scale, study.seeds) == (PAPER, "miniature", (110, 111, 112, 113, 114))
    assert len({run.commit for run in study.runs}) == 1
    assert {(run.row, tuple(run.setting.items()), run.seed) for run in study.runs} == {
        (row, tuple(setting.items()), seed) for row, setting, seed in study.planned
    }, "no run is missing"


def test_it_is_small() -> None:
    assert sum(file.stat().st_size for file in PUBLISHED.glob("*.parquet")) < MEGABYTES * 1e6


def test_the_page_tells_the_verdict_of_every_claim() -> None:
    page = (DOCS / "replication.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"^\| (C\d+(?:\.[\w.]+)?) \|[^|]*\| (?:\*\*)?([a-z ]+?)(?:\*\*)? \|", page, re.MULTILINE))
    assert {name: verdict for name, verdict in told.items() if "." not in name} == {
        row["id"]: row["verdict"] for row in written() if "." not in row["id"]
    }


def test_the_page_tells_the_verdicts_of_the_second_seeds_and_of_all_ten() -> None:
    page = (DOCS / "replication.md").read_text(encoding="utf-8")
    table = [
        line.strip("| ").replace("**", "").split("|") for line in page.splitlines() if re.match(r"\| C\d+ \|", line)
    ]
    told = {cells[0].strip(): [cell.strip() for cell in cells[4:6]] for cells in table}
    more = json.loads((PUBLISHED / "more_seeds.json").read_bytes())
    assert told == {
        row["id"]: [row["seeds 115 to 119"], row["seeds 110 to 119"]] for row in more if "." not in row["id"]
    }
    assert {row["id"]: row["seeds 110 to 114"] for row in more} == {row["id"]: row["verdict"] for row in written()}
