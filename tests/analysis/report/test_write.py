"""What lies on the disk afterwards."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fake_runs import offline_run, online_run
from judged_again import MODEL, judge_again

from overopt.analysis.report.collect import Collection, collect
from overopt.analysis.report.write import check_out, draw_all, figures_folder, write_report
from overopt.errors import UserError


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    online_run(tmp_path / "runs/kl")
    offline_run(tmp_path / "runs/simpo")
    return collect([tmp_path / "runs"])


def test_a_page_has_its_figures_as_svg_beside_it(tmp_path: Path, collection: Collection) -> None:
    out = tmp_path / "new/folder/report.html"
    files = write_report(collection, out, families=("curves",))
    folder = tmp_path / "new/folder/report_figures"
    assert files == [out, folder / "online-curves.svg", folder / "offline-curves.svg"]
    assert out.read_text().startswith("<!doctype html>")
    svg = files[1].read_text()
    assert svg.startswith("<svg")
    assert all(text in svg for text in ("Win rate, proxy and gold", "win rate against the reference", ">kl<"))
    assert sorted(path.name for path in folder.iterdir()) == ["offline-curves.svg", "online-curves.svg"]


def test_the_svg_is_drawn_from_the_records(tmp_path: Path, collection: Collection) -> None:
    """Win rates .4, .8 and 1 on an axis from 0 at the bottom (190) to 1 at the top."""
    svg = write_report(collection, tmp_path / "r.html", ("svg",), ("curves",))[0].read_text()
    paths = re.findall(r'aria-roledescription="line mark"[^>]* d="M([^"]*)"', svg)
    heights = [float(point.split(",")[1]) for point in paths[0].split("L")]
    assert [1 - height / 190 for height in heights] == pytest.approx([0.4, 0.8, 1.0], abs=1e-3)


def test_figures_say_whose_labels_they_show_if_not_those_of_the_runs_own_judge(tmp_path: Path) -> None:
    judge_again(online_run(tmp_path / "runs/kl"), {0: [0.0] * 10, 10: [0.0] * 10, 20: [1.0] * 10})
    collection = collect([tmp_path / "runs"], [MODEL])
    svg = write_report(collection, tmp_path / "r.html", ("svg",), ("curves",))[0].read_text()
    assert f"tuning split, labels by {MODEL}" in svg
    assert f"win rate by {MODEL}" in svg and "against the reference" not in svg


def test_other_formats_are_figures_alone(tmp_path: Path, collection: Collection) -> None:
    out = tmp_path / "report.html"
    files = write_report(collection, out, ("pdf", "png"), ("kl",))
    assert [file.name for file in files] == ["online-kl.pdf", "online-kl.png", "offline-kl.pdf", "offline-kl.png"]
    assert not out.exists()
    assert files[0].read_bytes().startswith(b"%PDF")
    assert files[1].read_bytes().startswith(b"\x89PNG")


def test_figures_are_chosen_by_name_in_the_pages_order(collection: Collection) -> None:
    chosen = draw_all(collection.groups, ("offline", "kl", "consecutive"))
    names = {slug: [figure.name for figure in figures] for slug, figures in chosen.items()}
    assert names == {"online": ["kl", "consecutive"], "offline": ["kl", "offline"]}
    assert figures_folder(Path("a/b.html")) == Path("a/b_figures")


def test_what_would_fail_at_the_end_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--figures curvs: no such figure; there are seeds, curves, gao"):
        check_out(tmp_path / "report.html", ("curvs",))
    with pytest.raises(UserError, match=r"is a directory; name a file, such as .*report.html"):
        check_out(tmp_path, ())
    with pytest.raises(UserError, match=r"a.pdf: names the page, which is HTML; with --format pdf .* a_figures/"):
        check_out(Path("a.pdf"), ())
    check_out(tmp_path / "report.html", ("curves",))


def test_an_output_that_cannot_be_written_is_the_users_to_mend(tmp_path: Path, collection: Collection) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match=r"report\.html: cannot be written"):
        write_report(collection, tmp_path / "file/report.html", families=("curves",))
    assert (tmp_path / "file").read_text() == "mine"
