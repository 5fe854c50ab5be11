"""Charts become files of the kind that their suffix names."""

from __future__ import annotations

from pathlib import Path

import pytest

from overopt.analysis.charts import HEIGHT, WIDTH, chart_of, render, side_by_side, write_chart
from overopt.errors import UserError

CHART = side_by_side([chart_of([{"x": 1, "y": 2}]).mark_point().encode(x="x:Q", y="y:Q")] * 2, "A title")


def test_columns_stand_side_by_side_below_a_title() -> None:
    spec = CHART.to_dict()
    assert (spec["title"], len(spec["hconcat"])) == ("A title", 2)
    assert spec["config"]["background"] == "white"
    assert WIDTH > HEIGHT


@pytest.mark.parametrize(("name", "start"), [("a.svg", b"<svg"), ("a.png", b"\x89PNG"), ("a.pdf", b"%PDF")])
def test_a_chart_is_written_in_the_format_of_its_suffix(tmp_path: Path, name: str, start: bytes) -> None:
    path = tmp_path / "new" / name
    write_chart(CHART, path)
    assert path.read_bytes().startswith(start)
    assert name != "a.svg" or "A title" in path.read_text()


@pytest.mark.parametrize("kind", ["svg", "pdf", "png"])
def test_control_characters_are_made_visible(kind: str) -> None:
    chart = chart_of([{"t": "\x1b[31mred\x07 \u202egnp"}]).mark_text().encode(text="t:N")
    image = render(chart.to_dict(), kind)  # the converter aborts the process at the first of them
    assert kind != "svg" or "␛[31mred␇ [U+202E]gnp" in image.decode()


def test_a_figure_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written .*; choose another place with -o"):
        write_chart(CHART, tmp_path / "file/a.svg")
