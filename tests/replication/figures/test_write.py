from pathlib import Path

from figure_studies import online, run, study

from overopt.replication.figures import FIGURES, write_figures


def test_a_figure_with_records_has_files_and_the_others_have_none(tmp_path: Path) -> None:
    old = tmp_path / "figures" / "figure-1.svg"
    old.parent.mkdir()
    old.write_text("of an earlier study")
    written = write_figures(study([run("KL-6.9B", series=online())]), tmp_path)
    assert written == [tmp_path / "figures.html", *(tmp_path / "figures" / f"figure-12.{k}" for k in ("svg", "pdf"))]
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(written)
    assert written[1].read_text().startswith("<svg") and written[2].read_bytes().startswith(b"%PDF")


def test_the_same_records_give_the_same_page(tmp_path: Path) -> None:
    members = study([run("KL-6.9B", series=online())])
    pages = [write_figures(members, tmp_path / name)[0].read_bytes() for name in ("a", "b")]
    assert pages[0] == pages[1] and len(FIGURES) == 12
