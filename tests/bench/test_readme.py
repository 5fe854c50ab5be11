"""The index of `bench/` names every script, and the files that it names are there."""

from __future__ import annotations

import re
from pathlib import Path

BENCH = Path(__file__).parents[2] / "bench"
README = (BENCH / "README.md").read_text(encoding="utf-8")


def test_every_script_is_in_the_index() -> None:
    assert {path.name for path in BENCH.glob("*.py")} == set(re.findall(r"`(\w+\.py)`", README))


def test_every_link_leads_to_a_file() -> None:
    links = re.findall(r"\]\(([^)]+)\)", README)
    assert len(links) >= 5
    assert all((BENCH / link).is_file() for link in links)
