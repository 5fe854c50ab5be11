import re

import pytest
from figure_studies import online, run, study, whole

from overopt.replication.figures.online import draw_figure_1
from overopt.replication.figures.paper import PAPER
from overopt.replication.figures.printing import pdf_of, printed, svg_of


def _size(svg: str) -> tuple[float, float, float]:
    """Width in points, and width and height of the view."""
    found = re.search(r'width="([\d.]+)pt" height="[\d.]+pt" viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    assert found
    return float(found[1]), float(found[2]), float(found[3])


@pytest.mark.parametrize("name", ["figure-1", "figure-5", "figure-6", "figure-8"])
def test_a_figure_fits_its_width_without_shrinking(name: str) -> None:
    figure = PAPER[name].draw(whole(seeds=(110, 111)))
    assert figure is not None
    width, view, _ = _size(svg_of(figure))
    assert width == view == figure.width and figure.width in (240, 500)


def test_a_pdf_has_the_stated_size_and_its_fonts() -> None:
    figure = PAPER["figure-12"].draw(whole(seeds=(110,)))
    assert figure is not None
    svg = svg_of(figure)
    content = pdf_of(svg)
    box = re.search(rb"MediaBox ?\[0 0 ([\d.]+) ([\d.]+)\]", content)
    assert box and float(box[1]) == 240 and float(box[2]) == pytest.approx(_size(svg)[2], abs=0.1)
    assert b"FontFile2" in content


def test_the_margin_of_a_narrower_figure_is_white_too() -> None:
    figure = PAPER["figure-4"].draw(whole(seeds=(110,)))
    assert figure is not None
    svg = svg_of(figure)
    background = re.search(r'<rect width="([\d.]+)" height="([\d.]+)" fill="white"/>', svg)
    assert background and (240.0, float(background[1]), float(background[2])) == _size(svg)[:1] + _size(svg)[1:]


def test_what_is_wider_is_scaled_down() -> None:
    long = [
        run("ME-1B-1e-6", {"coef": "a coefficient whose name is far too long for its place, " * 4}, series=online())
    ]
    figure = draw_figure_1(study(long))
    assert figure is not None
    width, view, _ = _size(svg_of(figure))
    assert width == 500 and view > 500


def test_text_is_legible_and_the_scale_is_said() -> None:
    figure = PAPER["figure-1"].draw(whole(seeds=(110, 111)))
    assert figure is not None
    document = printed(figure)
    axis = document["config"]["axis"]
    assert min(axis["labelFontSize"], axis["titleFontSize"], document["config"]["text"]["fontSize"]) >= 6.5
    assert " ".join(document["title"]["subtitle"]).startswith("miniature: 51 thousand to 631 thousand parameters")


def test_the_legend_is_printed() -> None:
    figure = PAPER["figure-1"].draw(whole(seeds=(110, 111)))
    assert figure is not None
    svg = svg_of(figure)
    for text in ("coefficient", "final win rate", "0.60 [0.60, 0.60]", "SFT 0.40, dashed gray", "GOOD"):
        assert f">{text}<" in svg
