"""The pages about the paper's study say what its YAML holds: its rows, its departures, its files."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import pytest

from overopt.studies.expand import ExpandedStudy
from overopt.studies.run import replication_run

DOCS = Path(__file__).parents[1] / "docs"
STAGES = ("sft", "reward_model", "online", "offline")


@cache
def runs_at(scale: str) -> ExpandedStudy:
    return replication_run("maxent-failure-modes", None, scale, [110]).study


def table(page: str, first: str) -> list[list[str]]:
    """The cells of the table whose first header is `first`."""
    text = (DOCS / page).read_text("utf-8")
    body = re.search(rf"^\| {first} \|.*\n\|[-:| ]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert body is not None
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in body[1].splitlines()]


def code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_every_row_of_the_study_is_described_once_with_what_varies() -> None:
    varies = {row: set(code(axes)) for rows, _, axes, _ in table("study.md", "row") for row in code(rows)}
    found: dict[str, set[str]] = {run.row: set(run.setting) for run in runs_at("miniature").runs.values()}
    assert varies == found
    assert sum(len(code(rows)) for rows, *_ in table("study.md", "row")) == len(found), "none twice"


def departures(scale: str) -> set[tuple[str, str]]:
    return {(run.stage, tag) for run in runs_at(scale).runs.values() for tag in run.config["provenance"]}


@pytest.mark.parametrize(
    ("page", "scale", "untagged"), [("study.md", "miniature", {"task"}), ("pythia.md", "pythia", set())]
)
def test_every_departure_is_listed_and_nothing_else(page: str, scale: str, untagged: set[str]) -> None:
    listed = {
        (stage, tag)
        for stages, settings, *_ in table(page, "stage")
        for stage in (STAGES if stages == "all" else stages.split(", "))
        for tag in code(settings)
        if tag not in untagged
    }
    assert listed == departures(scale)


def test_costs_are_given_for_every_run_once() -> None:
    """The groups of the table of hours: each run in one, as many as it says, and what the study's file says of them."""
    counts: Counter[str] = Counter()
    for patterns, _, number, _, hours, *_ in table("pythia.md", "runs"):
        chosen = [
            name for name, run in runs_at("pythia").runs.items() if any(fits(name, run.row, p) for p in code(patterns))
        ]
        assert len(chosen) == int(number), patterns
        costs = [runs_at("pythia").runs[name].cost / 3600 for name in chosen]
        assert costs == pytest.approx([float(hours)] * len(costs), rel=0.06), patterns
        counts.update(chosen)
    assert counts == Counter(dict.fromkeys(runs_at("pythia").runs, 1))


def fits(name: str, row: str, pattern: str) -> bool:
    return fnmatchcase(row, pattern) or fnmatchcase(name, pattern)


def commands() -> Iterator[list[str]]:
    for line in re.findall(r"^overopt study (.*?)(?: +#.*)?$", (DOCS / "pythia.md").read_text("utf-8"), re.MULTILINE):
        found = re.search(r'--only "([^"]*)"', line)
        if found:
            yield found[1].split(",")


def test_the_order_of_runs_names_runs_that_there_are() -> None:
    study, asked = runs_at("pythia"), list(commands())
    assert len(asked) >= 3
    assert all(study.matching(patterns) for patterns in asked)


def test_the_smallest_set_touches_every_figure() -> None:
    """As in the paper's captions: the rows of figures 1 to 12, each entropy row with 0 and a coefficient."""
    smallest = next(patterns for patterns in commands() if "DPO-1B" in patterns and "KL-6.9B" in patterns)
    study = runs_at("pythia")
    chosen = [study.runs[name] for name in study.matching(smallest)]
    assert len(chosen) == 36
    coefs = {
        row: {r.setting["coef"] for r in chosen if r.row == row}
        for row in (r.row for r in chosen)
        if "e-" in row[-4:] and row[0] == "M"
    }
    assert len(coefs) == 7 and all(values == {0, 0.1} for values in coefs.values())
    assert sorted(r.setting["gamma"] for r in chosen if r.row == "SIMPO-1B-1e-6") == [0, 0.25, 0.5, 1, 2]
