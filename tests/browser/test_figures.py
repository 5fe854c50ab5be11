"""The page of the paper's figures in a real browser: `make test-browser`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from figure_studies import online, run, study, whole

from browser import HOSTILE, Page
from overopt.replication.figures import write_figures

MARKS = 'return arguments[0].querySelectorAll(".mark-line path").length'
OVERFLOWING = """
const scrolls = (node) => node !== null
  && (["auto", "scroll", "hidden"].includes(getComputedStyle(node).overflowX) || scrolls(node.parentElement));
const out = (node) => node.getBoundingClientRect().right > innerWidth + 0.5 && !scrolls(node.parentElement);
return [...document.querySelectorAll("body *")].filter(out).map((node) => node.outerHTML.slice(0, 200));
"""


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every figure, with rows that have no records and settings whose names are hard to show."""
    members = whole(seeds=(110, 111, 112))
    hostile = [run("ME-1B-1e-6", {"coef": name}, 110, online()) for name in HOSTILE if len(name) < 1000]
    kept = [one for one in members.runs if one.row not in ("ME-6.9B-1e-7", "ME-1B-1e-6")]
    return write_figures(study([*kept, *hostile]), tmp_path_factory.mktemp("figures"))[0]


@pytest.mark.parametrize("width", [1280, 400])
def test_every_panel_is_drawn_everything_fits_and_nothing_is_asked_for(
    driver: Any, page_file: Path, width: int
) -> None:
    page = Page(driver, page_file, width, dark=False)
    panels = page.draw_all()
    assert len(panels) > 40
    for panel in panels:
        assert page.run(MARKS, panel) > 0, panel.get_attribute("aria-label")
    assert page.run("return document.documentElement.scrollWidth") <= width
    assert page.run(OVERFLOWING) == []
    said, asked = page.logs()
    assert said == [] and asked == [page.url]
    assert page.run("return document.documentElement.dataset.hacked") is None


def test_each_figure_stands_beside_its_sentences_or_says_what_is_missing(driver: Any, page_file: Path) -> None:
    page = Page(driver, page_file, 1280, dark=False)
    sections = page.all("section")
    assert [section.get_attribute("id") for section in sections] == [f"figure-{place}" for place in range(1, 13)]
    assert all("The paper's must show" in section.text for section in sections)
    assert "Not drawn. ME-6.9B-1e-7: not a row of this study." in sections[10].text
    assert all("Ours shows" in section.text for section in sections[:10])
