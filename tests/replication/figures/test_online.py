from typing import Any

import pytest
from figure_studies import online, run, study

from overopt.replication.figures.online import bonus, draw_figure_1, draw_figure_2


def _runs(row: str, rates: tuple[float, float], label: Any, bonus_end: float, seeds: int = 2) -> list[Any]:
    noisy = [0.3 + bonus_end * step / 80 + 0.003 * (step % 3) for step in range(80)]
    return [
        run(row, {"coef": coef}, seed, online() | {"bonus_mean": noisy, "neg_logp_tok": noisy}, label, rates)
        for coef in (0.0, 0.5)
        for seed in range(seeds)
    ]


def test_without_a_coefficient_surprisal_stands_for_the_bonus() -> None:
    zero, half = (run("R", {"coef": coef}, series=online(bonus=0.2)) for coef in (0, 0.5))
    assert bonus(zero)[1].tolist() == [0.7] * 20 and bonus(half)[1].tolist() == [0.2] * 20  # type: ignore[index]


def test_figure_1_has_a_column_for_each_learning_rate() -> None:
    runs = _runs("ME-1B-1e-6", (0.5, 0.1), "OVER", 0.5) + _runs("ME-1B-1e-7", (0.5, 0.8), "GOOD", -0.2)
    figure = draw_figure_1(study(runs))
    assert figure is not None
    high, low = figure.blocks
    assert high.title == "high learning rate 1e-6 (here 0.001)" and low.title.startswith("low learning rate 1e-7")
    assert [len(block.panels) for block in figure.blocks] == [4, 4]
    assert high.legend is not None and low.legend is not None
    assert [(line.entry, *cells) for line, cells in high.legend.rows] == [
        ("0", "0.10 [0.10, 0.10]", "OVER"), ("0.5", "0.10 [0.10, 0.10]", "OVER"),
    ]  # fmt: skip
    assert high.legend.rows[0][0].color == low.legend.rows[0][0].color
    reward = high.panels[0].data["figure-1-high-reward-lines"]
    assert reward["entry"] == ["0"] * 20 + ["0.5"] * 20 and reward["y"][19] == pytest.approx(1)


def test_figure_1_says_what_the_records_say() -> None:
    as_in_paper = _runs("ME-1B-1e-6", (0.5, 0.1), "OVER", 0.5) + _runs("ME-1B-1e-7", (0.5, 0.8), "GOOD", -0.2)
    figure = draw_figure_1(study(as_in_paper))
    assert figure is not None
    assert figure.shows == (
        "High learning rate: the proxy rises in 4 of 4 runs; the win rate ends below SFT's in 4 of 4 runs and above it"
        " in 0; the entropy bonus ends higher than it starts in 4 of 4 runs (significantly: 4 up, 0 down); over all"
        " seeds 0 of 2 coefficients end above SFT; the best, 0, ends at 0.10 [0.10, 0.10]."
        " Low learning rate: the proxy rises in 4 of 4 runs; the win rate ends below SFT's in 0 of 4 runs and above it"
        " in 4; the entropy bonus ends higher than it starts in 0 of 4 runs (significantly: 0 up, 4 down); over all"
        " seeds 2 of 2 coefficients end above SFT; the best, 0, ends at 0.80 [0.80, 0.80]."
    )
    opposite = _runs("ME-1B-1e-6", (0.5, 0.8), "GOOD", -0.2) + _runs("ME-1B-1e-7", (0.5, 0.1), "OVER", 0.5)
    other = draw_figure_1(study(opposite))
    assert other is not None
    high, low = other.shows.split(" Low learning rate: ")
    assert "below SFT's in 0 of 4 runs and above it in 4" in high and "significantly: 0 up, 4 down" in high
    assert "below SFT's in 4 of 4 runs and above it in 0" in low and "significantly: 4 up, 0 down" in low


def test_a_row_without_records_leaves_its_column_out() -> None:
    only = study(_runs("ME-2.8B-5e-8", (0.5, 0.1), "OVER", 0.5), [("ME-2.8B-1e-7", {"coef": 0.5}, 0)])
    figure = draw_figure_2(only)
    assert figure is not None and [block.title[:6] for block in figure.blocks] == ["lowest"]
    assert figure.shows.startswith("Lowest learning rate") and "Low learning rate" not in figure.shows
    assert draw_figure_1(only) is None


def test_one_seed_has_no_bands() -> None:
    figure = draw_figure_1(study(_runs("ME-1B-1e-6", (0.5, 0.1), "OVER", 0.5, seeds=1)))
    assert figure is not None and "one seed, so no bands" in figure.scale
    assert not any(name.endswith("bands") for panel in figure.blocks[0].panels for name in panel.data)
    assert figure.blocks[0].legend is not None and figure.blocks[0].legend.rows[0][1][0] == "0.10"
