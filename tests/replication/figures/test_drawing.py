import math

import pytest
from figure_studies import run, study

from overopt.replication.figures.drawing import (
    DASHED,
    SOLID,
    Line,
    colors_of,
    grid,
    make_block,
    number,
    palette,
    panel,
    scale_text,
    settings,
    win_rate_legend,
    win_rate_panel,
)
from overopt.replication.figures.over_seeds import Axis, series

T_2 = 4.302652729911275  # 97.5 % of Student's t with 2 degrees of freedom


def _line(*columns: list[float], entry: str = "0.5") -> Line:
    runs = [run("ME-1B-1e-6", {"coef": 0.5}, seed, {"kl_ref": values}) for seed, values in enumerate(columns)]
    return Line(entry, runs, "#123456")


def test_a_panel_holds_means_and_bands() -> None:
    drawn = panel("p", "KL", [_line([1.0, 2.0], [2.0, 4.0], [3.0, 6.0])], series("kl_ref"))
    assert drawn is not None
    assert drawn.data["p-lines"] == {"entry": ["0.5", "0.5"], "x": [1, 2], "y": [2, 4], "seeds": [3, 3]}
    half = T_2 / math.sqrt(3)  # the sample variance of 1, 2 and 3 is 1
    bands = drawn.data["p-bands"]
    assert bands["low"] == pytest.approx([2 - half, 4 - 2 * half], rel=1e-4)
    assert bands["high"] == pytest.approx([2 + half, 4 + 2 * half], rel=1e-4)
    assert drawn.spec["title"] == "KL"
    assert "p-rule" not in drawn.data and "p-ends" not in drawn.data


@pytest.mark.parametrize("seeds", [1, 2])
def test_fewer_than_three_seeds_have_a_line_and_no_band(seeds: int) -> None:
    drawn = panel("p", "KL", [_line(*[[1.0, 2.0 * seed] for seed in range(seeds)])], series("kl_ref"))
    assert drawn is not None and list(drawn.data) == ["p-lines"]
    assert [layer["mark"]["type"] for layer in drawn.spec["layer"]] == ["line"]


def test_without_points_there_is_no_panel() -> None:
    assert panel("p", "KL", [_line([1.0])], series("kl_prev")) is None
    assert panel("p", "KL", [], series("kl_ref")) is None
    assert make_block("title", [None]) is None


def test_nan_is_left_out_of_means_and_axes() -> None:
    drawn = panel("p", "KL", [_line([1.0, math.nan, 5.0]), _line([math.nan] * 3, entry="1")], series("kl_ref"))
    assert drawn is not None
    assert drawn.data["p-lines"]["y"] == [1, 5] and drawn.data["p-lines"]["x"] == [1, 3]
    low, high = drawn.spec["layer"][0]["encoding"]["y"]["scale"]["domain"]
    assert math.isfinite(low) and math.isfinite(high)


def test_a_wide_band_takes_at_most_half_the_means_range_on_either_side() -> None:
    drawn = panel("p", "KL", [_line([0.0, 0.0], [0.0, 20.0], [0.0, 40.0])], series("kl_ref"))
    assert drawn is not None
    low, high = drawn.spec["layer"][0]["encoding"]["y"]["scale"]["domain"]
    room = 0.04 * 40  # means from 0 to 20, a band from -30 to 70: the axis from -10 to 30, with a margin
    assert (low, high) == pytest.approx((-10 - room, 30 + room))


def test_ticks_of_a_logarithmic_axis_are_powers_of_ten() -> None:
    drawn = panel("p", "KL", [_line([0.05, 0.7, 300.0])], series("kl_ref"), axis=Axis(0.1))
    assert drawn is not None
    y = drawn.spec["layer"][0]["encoding"]["y"]
    assert y["scale"]["type"] == "symlog" and y["scale"]["constant"] == 0.1
    assert y["axis"]["values"] == [0.1, 1, 10, 100]
    close = panel("p", "KL", [_line([0.3, 0.7])], series("kl_ref"), axis=Axis(0.01))
    assert close is not None and close.spec["layer"][0]["encoding"]["y"]["axis"] == {"tickCount": 4, "format": ".4~g"}
    wider = panel("p", "KL", [_line([0.3, 2.3])], series("kl_ref"), axis=Axis(0.01))
    assert wider is not None and wider.spec["layer"][0]["encoding"]["y"]["axis"]["values"] == [0.5, 1, 2]


def test_end_marks_stand_at_the_last_mean() -> None:
    drawn = panel("p", "KL", [_line([1.0, 2.0])], series("kl_ref"), ends={"0.5": "worse"})
    assert drawn is not None
    assert drawn.data["p-ends"] == {"entry": ["0.5"], "x": [2], "y": [2], "mark": ["worse"]}


def test_win_rates_are_drawn_at_evaluations_beside_sft() -> None:
    lines = [Line("0.5", [run("R", seed=0, rates=(0.4, 0.8)), run("R", seed=1, rates=(0.6, 0.2))], "#123456")]
    drawn = win_rate_panel("p", lines)
    assert drawn is not None
    assert drawn.data["p-lines"]["x"] == [0, 10] and drawn.data["p-lines"]["y"] == [0.5, 0.5]
    assert drawn.data["p-rule"] == {"y": [0.5]}


def test_the_legend_carries_final_win_rates_and_outcomes() -> None:
    runs = [run("R", seed=seed, rates=(0.4, rate), label="OVER") for seed, rate in enumerate((0.1, 0.2, 0.3))]
    legend = win_rate_legend([Line("0.5", runs, "#123456")], "coefficient", ", gray")
    half = 4.302652729911275 * 0.1 / math.sqrt(3)
    assert legend.heads == ("coefficient", "final win rate", "outcome")
    assert legend.rows[0][1] == (f"0.20 [0.00, {0.2 + half:.2f}]", "OVER")
    assert legend.below == "SFT 0.40, gray"


def test_a_grid_shares_an_ordered_palette() -> None:
    runs = [run("ME-1B-1e-6", {"coef": coef}) for coef in (1.0, 0.0, 0.1)]
    members = study(runs, [("ME-1B-1e-6", {"coef": 0.5}, 0)])
    colors = colors_of(members, ["ME-1B-1e-6"], "coef")
    assert list(colors) == [0, 0.1, 0.5, 1] and len(set(colors.values())) == 4
    lines = grid(members, "ME-1B-1e-6", "coef", colors)
    assert [(line.entry, line.dash) for line in lines] == [("0", DASHED), ("0.1", SOLID), ("1", SOLID)]
    assert lines[2].color == colors[1.0]  # that of 0.5, which has no runs, stays free

    def lightness(color: str) -> float:
        red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    shades = [lightness(color) for color in palette(6)]
    assert shades == sorted(shades) and len(set(palette(6))) == 6 and palette(1) == [palette(6)[0]]


def test_settings_may_be_names() -> None:
    members = study([run("R", {"coef": value}) for value in ("entropy", 2.0, 0.5)])
    assert settings(members, ["R"], "coef") == [0.5, 2, "entropy"]
    assert number("entropy") == "entropy" and number(0.5) == "0.5" and number(1.0) == "1"


def test_every_scale_says_what_stands_for_the_papers_models() -> None:
    runs = [run("R", seed=seed) for seed in (110, 111, 112)]
    assert scale_text(study(runs)) == (
        "miniature: 51 thousand to 631 thousand parameters stand for 1B to 6.9B; 3 seeds: 110, 111, 112"
    )
    assert scale_text(study(runs[:1], scale="quick")) == (
        "quick: one small model stands for all three sizes; one seed, so no bands"
    )
    assert scale_text(study(runs[:1], scale="pythia")) == "pythia scale; one seed, so no bands"
    assert scale_text(study(runs[:2])).endswith("2 seeds: 110, 111, so no bands")
