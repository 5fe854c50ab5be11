import json
import re
from typing import Any

from figure_studies import online, run, study, whole

from overopt.analysis.report.page import drawing_library
from overopt.replication.figures.paper import PAPER
from overopt.replication.members import Members
from overopt.replication.page import content, figures_page

MARKUP = "</script><img src=x onerror=alert(1)>&\u202e"


def _page(members: Members) -> str:
    return figures_page(members, {name: paper.draw(members) for name, paper in PAPER.items()})


def _data(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="figures-data">(.*?)</script>', page, re.DOTALL)
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data


def test_the_page_holds_every_figure_beside_its_sentences() -> None:
    figures = _data(_page(whole(seeds=(110, 111))))["figures"]
    assert [figure["name"] for figure in figures] == list(PAPER)
    for figure in figures:
        assert figure["must_show"] == PAPER[figure["name"]].must_show
        assert figure["shows"].endswith(".") and not figure["missing"] and figure["blocks"][0]["panels"]
    legend = figures[0]["blocks"][0]["legend"]
    assert legend["rows"][0]["cells"] == ["0", "0.60 [0.60, 0.60]", "GOOD"] and legend["below"].startswith("SFT 0.40")


def test_what_is_missing_is_said() -> None:
    planned = [("ME-1B-1e-7", {"coef": 0.5}, 0)]
    figures = _data(_page(study([run("ME-1B-1e-6", {"coef": 0.5}, series=online())], planned)))["figures"]  # type: ignore[arg-type]
    assert figures[0]["missing"] == ["ME-1B-1e-7: no records"] and figures[0]["shows"]
    assert figures[11] == {
        "name": "figure-12", "title": "Figure 12", "must_show": PAPER["figure-12"].must_show, "shows": None,
        "caption": "", "notes": [], "blocks": [], "missing": ["KL-6.9B: not a row of this study"],
        "scale": "miniature: 51 thousand to 631 thousand parameters stand for 1B to 6.9B; one seed, so no bands",
    }  # fmt: skip


def test_markup_in_a_name_stays_text() -> None:
    page = _page(study([run("ME-1B-1e-6", {"coef": MARKUP}, series=online())]))
    assert "<img src=x" not in page and "&\u202e" not in page
    entry = _data(page)["figures"][0]["blocks"][0]["legend"]["rows"][0]["cells"][0]
    assert entry == "</script><img src=x onerror=alert(1)>&[U+202E]"


def test_every_figure_says_its_scale() -> None:
    members = study([run("KL-6.9B", series=online())], scale="quick")
    (figure,) = content(members, {"figure-12": None})["figures"]
    assert figure["scale"] == "quick: one small model stands for all three sizes; one seed, so no bands"


def test_the_page_needs_no_network() -> None:
    page = _page(study([run("KL-6.9B", series=online())])).replace(drawing_library(), "")
    assert "default-src 'none'" in page and not re.search(r'<(script|link|img)[^>]+(src|href)="(?!data:)', page)
