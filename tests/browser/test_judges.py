"""The report on runs that several judges judged, in a real browser: `make test-browser`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fake_runs import BETTER, WORSE, online_run
from judged_again import MODEL, judge_again

from browser import HACK, HOSTILE, Page
from overopt.analysis.report.collect import collect
from overopt.analysis.report.write import write_report

HALF: list[float | None] = [1.0, 0.0] * 5
NAME = HOSTILE[1]


@pytest.fixture(scope="module")
def judged_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs by three judges, one of which has markup for a name; the model's replies are hostile."""
    runs = tmp_path_factory.mktemp("judged")
    replies = {20: HOSTILE}
    judge_again(online_run(runs / "kl", BETTER), {0: HALF, 10: HALF, 20: HALF}, replies=replies)
    none = online_run(runs / "none", WORSE)
    judge_again(none, {0: HALF, 20: [0.0] * 10}, replies=replies)
    judge_again(none, {0: HALF, 20: HALF}, NAME)
    write_report(collect([runs]), runs / "report.html")
    return runs / "report.html"


@pytest.mark.parametrize("width", [1280, 400])
def test_each_judge_has_a_column_and_a_panel_and_everything_fits(driver: Any, judged_file: Path, width: int) -> None:
    page = Page(driver, judged_file, width, dark=False)
    heads = [head.get_attribute("textContent") for head in page.all("table.runs thead th")]
    judges = ["gold", MODEL, NAME]
    assert heads[1:7] == [f"outcome by {judge}" for judge in judges] + [f"win rate by {judge}" for judge in judges]
    row = page.run("return [...document.querySelector('table.runs').tBodies[0].rows[1].cells].map((c) => c.innerText)")
    assert [text.strip() for text in row[1:4]] == ["× OVER", "× OVER", "– FLAT"]
    titles = [panel.get_attribute("aria-label") for panel in page.draw_all()]
    assert [title for title in titles if "win rate by gold" in title and "Win rate, proxy" in title]
    assert sum("Win rate, proxy and gold: win rate by" in title for title in titles) == 3
    said = [node.text for node in page.all("p.disagreement")]
    assert f"gold and {MODEL} disagree on 1 of 2 runs: kl (GOOD against FLAT)." in said
    assert page.run("return document.documentElement.scrollWidth") <= width
    console, asked = page.logs()
    assert console == [] and asked == [page.url]


def test_samples_are_sorted_by_disagreement_and_replies_do_nothing(driver: Any, judged_file: Path) -> None:
    page = Page(driver, judged_file, 1280, dark=False)
    order = page.all(".samples select")[2]
    page.run("arguments[0].value = 'apart'; arguments[0].dispatchEvent(new Event('change'))", order)
    while (more := page.all(".samples > button.more:not([hidden])")) and more[0].is_displayed():
        page.click(more[0])
    apart = [card.text.endswith("judges disagree") for card in page.all(".card h5")]
    assert apart == sorted(apart, reverse=True) and apart[0]
    assert any(f"loss by gold · loss by {MODEL} · win by {NAME}" in node.text for node in page.all(".numbers"))
    page.run("for (const one of document.querySelectorAll('.replies')) one.open = true")
    shown = {node.get_attribute("textContent") for node in page.all(".replies .text")}
    assert {HOSTILE[0], HOSTILE[1], "␛[31mred␇ [U+202E]gnp.exe[U+200B]"} <= shown
    assert page.all("img") == [] and page.all("main script") == []
    assert page.run("return document.documentElement.dataset.hacked || null") is None
    assert HACK in HOSTILE[0], "the test would notice"
