"""The report in a real browser: `make test-browser`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from browser import HOSTILE, Page

MARKS = """
const [panel] = arguments, canvas = panel.querySelector("canvas");
if (!canvas) return panel.querySelectorAll(".mark-line path, .mark-symbol path, .mark-rule line").length;
const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
let colored = 0;  // axes are grey
for (let i = 0; i < data.length; i += 16) {
  const rgb = data.slice(i, i + 3);
  colored += Math.max(...rgb) - Math.min(...rgb) > 50;
}
return colored;
"""
"""How many marks a panel has, or, drawn as an image, how many colored pixels, of every fourth."""

OVERFLOWING = """
const scrolls = (node) => node !== null
  && (["auto", "scroll", "hidden"].includes(getComputedStyle(node).overflowX) || scrolls(node.parentElement));
const out = (node) => node.getBoundingClientRect().right > innerWidth + 0.5 && !scrolls(node.parentElement);
return [...document.querySelectorAll("body *")].filter(out).map((node) => node.outerHTML.slice(0, 200));
"""

CELLS = """
const rows = [...document.querySelector("table.runs").tBodies[0].rows];
return rows.map((row) => row.cells[arguments[0]].innerText.trim());
"""

OPACITIES = """
return [...arguments[0].querySelectorAll(".mark-line path")].map((path) => path.getAttribute("opacity") || "1");
"""


def cells(page: Page, column: int) -> list[str]:
    """A column of the first table of runs."""
    found: list[str] = page.run(CELLS, column)
    return found


def chosen(page: Page, selector: str) -> list[str]:
    found: list[str] = page.run(
        "return [...document.querySelectorAll(arguments[0])].filter((node) => node.classList.contains('chosen'))"
        ".map((node) => node.innerText.trim())", selector,
    )  # fmt: skip
    return found


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("file", ["demo_file", "made_file"])
def test_it_opens_draws_everything_fits_and_asks_for_nothing(
    driver: Any, request: pytest.FixtureRequest, file: str, width: int, dark: bool
) -> None:
    page = Page(driver, request.getfixturevalue(file), width, dark)
    panels = page.draw_all()
    assert len(panels) > 20
    for panel in panels:
        assert page.run(MARKS, panel) > 0, panel.get_attribute("aria-label")
    assert page.run("return document.documentElement.scrollWidth") <= width
    assert page.run(OVERFLOWING) == []
    assert bool(page.all(".panel canvas")) == (file == "made_file"), "crowded panels are images"
    said, asked = page.logs()
    assert said == []
    assert asked == [page.url]
    red = page.run("return Number(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0])")
    assert (red < 60) == dark


def test_the_demos_page_is_small_and_says_who_over_optimized(driver: Any, demo_file: Path) -> None:
    assert demo_file.stat().st_size < 5e6
    page = Page(driver, demo_file, 1280, dark=False)
    sentences = [node.text for node in page.all(".sentence")]
    assert len(sentences) == 2
    assert all("starting from SFT's" in sentence and "over-optimized" in sentence for sentence in sentences)
    assert {"kl", "none", "maxent-2"} <= set(cells(page, 0))
    assert page.all("mark.repeated"), "the words that hacked the reward"


def test_a_column_sorts_both_ways_and_what_is_not_known_stays_last(driver: Any, made_file: Path) -> None:
    page = Page(driver, made_file, 1280, dark=False)
    heads = [head.text for head in page.all("table.runs:first-of-type thead th")]
    column = heads.index("proxy")
    button = page.all("table.runs thead th button")[column]
    ends: dict[str, list[str]] = {"asc": [], "desc": []}
    for order in ends:
        page.click(button)
        ends[order] = [text.partition("→")[2].strip() for text in cells(page, column)]
    assert ends["asc"] == ["+0.50", "+1.00", "+3.00", "+3.00", "–"]
    assert ends["desc"] == ["+3.00", "+3.00", "+1.00", "+0.50", "–"]
    assert button.find_element("xpath", "..").get_attribute("aria-sort") == "descending"


def test_a_click_highlights_a_run_everywhere_and_a_second_one_ends_it(driver: Any, made_file: Path) -> None:
    page = Page(driver, made_file, 1280, dark=False)
    panel = page.all(".panel")[0]
    page.run("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", panel)
    page.wait(lambda: panel.get_attribute("data-drawn") == "done")
    assert set(page.run(OPACITIES, panel)) == {"1"}

    row = next(row for row in page.all("table.runs tbody tr") if row.text.startswith("none"))
    page.click(row)
    assert chosen(page, ".entry") == ["none"]
    assert [text.split()[0] for text in chosen(page, "table.runs tr")] == ["none"]
    assert chosen(page, "ul.why li")[0].startswith("none OVER")
    page.wait(lambda: sorted(page.run(OPACITIES, panel)) == ["0.1", "0.1", "0.1", "0.1", "1"])
    assert chosen(page, ".cell")
    assert all(text.startswith("none") for text in chosen(page, ".cell"))

    other = next(panel for panel in page.all(".panel") if "Offline" in panel.get_attribute("aria-label"))
    page.wait(lambda: other.get_attribute("data-drawn") == "done")
    assert page.run("return arguments[0].view.signal('chosen')", other) == "", "another group is left as it is"

    page.click(next(button for button in page.all(".entry") if button.text == "kl"))
    assert chosen(page, ".entry") == ["kl"]
    page.click(next(button for button in page.all(".entry") if button.text == "kl"))
    assert chosen(page, ".entry, .cell, table.runs tr") == []
    page.wait(lambda: set(page.run(OPACITIES, panel)) == {"1"})


def test_an_entry_of_the_legend_is_all_its_seeds(driver: Any, made_file: Path) -> None:
    page = Page(driver, made_file, 1280, dark=False)
    entries = [button.text for button in page.all(".entry")]
    page.click(page.all(".entry")[entries.index("simpo 2, lr 0.0001")])
    assert len(chosen(page, "table.runs tr")) == 30
    assert chosen(page, ".entry") == ["simpo 2, lr 0.0001"]


def test_a_figure_drawn_later_knows_the_highlighted_run(driver: Any, made_file: Path) -> None:
    page = Page(driver, made_file, 1280, dark=False)
    page.click(page.all("table.runs tbody tr")[0])
    panel = page.all(".panel")[3]
    page.run("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", panel)
    page.wait(lambda: panel.get_attribute("data-drawn") == "done")
    faint = "return arguments[0].querySelectorAll('[opacity=\"0.1\"]').length"
    page.wait(lambda: page.run(faint, panel) > 0)


def test_hostile_text_is_shown_and_does_nothing(driver: Any, made_file: Path) -> None:
    page = Page(driver, made_file, 1280, dark=False)
    while (more := page.all(".samples > button.more:not([hidden])")) and more[0].is_displayed():
        page.click(more[0])
    shown = {node.get_attribute("textContent") for node in page.all(".text")}
    for text in (HOSTILE[0], HOSTILE[1], HOSTILE[2], *HOSTILE[6:]):
        assert text in shown
    assert "␛[31mred␇ [U+202E]gnp.exe[U+200B]" in shown
    page.draw_all()
    assert page.all("img") == []
    assert page.all("main script") == []
    assert page.run("return document.documentElement.dataset.hacked || null") is None
    assert page.run("return document.title") == "overopt report"
    assert any(HOSTILE[1] in text for text in cells(page, 0)), "as the name of a run, too"


def test_a_long_text_is_folded_until_asked_for(driver: Any, made_file: Path) -> None:
    page = Page(driver, made_file, 400, dark=False)
    while (more := page.all(".samples > button.more:not([hidden])")) and more[0].is_displayed():
        page.click(more[0])
    folded = page.all(".folded")[0]
    assert folded.size["height"] < 200
    page.click(folded.find_element("xpath", "following-sibling::button"))
    assert folded.size["height"] > 400
    assert page.run("return document.documentElement.scrollWidth") <= 400


def test_samples_are_filtered_by_run_step_and_words(driver: Any, made_file: Path) -> None:
    page = Page(driver, made_file, 1280, dark=False)
    group = page.all(".samples")[0]

    def heads() -> set[str]:
        return {head.text for head in group.find_elements("css selector", ".cell .head")}

    def select(place: int, value: str) -> None:
        control = group.find_elements("css selector", "select")[place]
        page.run("arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('change'))", control, value)

    assert "none, step 20" in heads()
    options = [
        option.text for option in group.find_elements("css selector", "select")[0].find_elements("tag name", "option")
    ]
    select(0, str(options.index("none") - 1))
    assert heads() == {"none, step 0", "none, step 20"}
    select(1, "10")
    assert heads() == {"none, step 10"}
    select(0, "")
    select(1, "all")
    search = group.find_element("css selector", "input")
    page.run("arguments[0].scrollIntoView({block: 'center'})", search)
    search.send_keys("gnp.exe")
    assert group.find_element("css selector", "p.quiet").text == "1 of 1 prompts"
    search.send_keys("?")
    assert group.find_element("css selector", "p.quiet").text == "0 of 0 prompts"


def test_what_was_left_out_and_what_is_unfinished_is_said(driver: Any, made_file: Path) -> None:
    page = Page(driver, made_file, 400, dark=True)
    warning = page.all("#verdict .warning")[0].text
    assert "broken/run.json: not JSON" in warning
    names = cells(page, 0)
    assert "going\nstill running, drawn up to step 10 of 20" in names
    assert "unscored\ndiverged at step 0" in [name.replace("step 20", "step 0") for name in names]
