import pytest
from figure_studies import online, run, study

from overopt.replication.figures.largest import draw_figure_10, draw_figure_11, draw_figure_12


def test_figures_10_and_11_are_two_by_two() -> None:
    runs = [
        run("ME-6.9B-1e-6", {"coef": c}, s, online(end=40.0), "OVER", (0.5, 0.1)) for c in (0.0, 1.0) for s in (0, 1)
    ]
    figure = draw_figure_10(study(runs))
    assert figure is not None and draw_figure_11(study(runs)) is None
    (block,) = figure.blocks
    assert block.per_row == 2 and block.title == "high learning rate 1e-6 (here 0.001)"
    assert [panel.title[:5] for panel in block.panels] == ["RLHF ", "KL(π ", "entro", "KL(π "]
    assert block.panels[1].data["figure-10-ref-lines"]["y"][-1] == 40
    assert block.panels[2].data["figure-10-bonus-lines"]["y"][:20] == pytest.approx([0.7] * 20)  # of coefficient 0
    assert "KL to the reference ends at 35.8 nats (56% of that half-way)" in figure.shows  # 34/38 and 20/38 of 40


def test_figure_12_has_three_panels_in_a_column() -> None:
    figure = draw_figure_12(study([run("KL-6.9B", {}, seed, online(kl=2.0)) for seed in (0, 1)]))
    assert figure is not None and figure.width == 240
    assert [panel.title for panel in figure.blocks[0].panels][1] == "RLHF reward" and figure.blocks[0].per_row == 1
    assert figure.shows.startswith("The RLHF reward ends higher than it starts in 2 of 2 runs")
    assert "KL to the reference ends at 2 nats (100% of that half-way)" in figure.shows
    assert figure.shows.endswith("above it in 2, at 0.60 [0.60, 0.60] over seeds.")
    assert draw_figure_12(study([])) is None
