from typing import Any

from figure_studies import online, run, study

from overopt.replication.figures.kl import draw_figure_3, draw_figure_5


def _rows(size: str, row: str, coef: float, end: float, label: Any, rate: float) -> list[Any]:
    return [run(row, {"coef": coef}, seed, online(end=end), label, (0.5, rate)) for seed in (0, 1)]


def _study(two_kl: float = 2.0) -> Any:
    return study(
        [run(f"KL-{size}", {}, seed, online(kl=1.5), "GOOD", (0.5, 0.7)) for size in ("1B", "2.8B") for seed in (0, 1)]
        + _rows("1B", "ME-1B-1e-6", 0.5, 100, "OVER", 0.0)
        + _rows("1B", "ME-1B-1e-6", 1.0, 50, "OVER", 0.1)
        + _rows("1B", "ME-1B-1e-7", 0.0, 2, "GOOD", 0.9)
        + _rows("1B", "ME-1B-1e-7", 0.5, 2, "GOOD", 0.8)
        + _rows("2.8B", "ME-2.8B-1e-7", 0.5, two_kl, "OVER", 0.2)
    )


def test_figure_3_takes_the_best_and_the_worst_over_optimized_run() -> None:
    figure = draw_figure_3(_study())
    assert figure is not None
    small, middle = (block.legend for block in figure.blocks)
    assert small is not None and middle is not None
    assert [line.entry for line, _ in small.rows] == ["KL, high", "MaxEnt 0.5, low", "MaxEnt 0.5, high"]
    assert [cells[2] for _, cells in small.rows] == ["GOOD", "GOOD", "OVER"]
    assert [line.entry for line, _ in middle.rows] == ["KL, high", "MaxEnt 0.5, low"]


def test_figure_3_says_where_kl_ends_and_whether_it_bends() -> None:
    figure = draw_figure_3(_study())
    assert figure is not None
    small, middle = figure.shows.split(" At 2.8B ")
    assert small == (
        "At 1B KL to the reference ends at 1.5 nats for KL, high (100% of that half-way), 1.79 nats for MaxEnt 0.5, low"
        " (56% of that half-way), 89.5 nats for MaxEnt 0.5, high (56% of that half-way); KL between consecutive"
        " policies ends higher than it starts in 0 of 2 runs (significantly: 0 up, 0 down) for KL, high, 0 of 2 runs"
        " (significantly: 0 up, 0 down) for MaxEnt 0.5, low, 0 of 2 runs (significantly: 0 up, 0 down) for"
        " MaxEnt 0.5, high."
    )
    assert "KL, high" in middle and figure.blocks[0].legend is not None and figure.blocks[0].legend.below == "SFT 0.50"


def test_figure_3_cuts_the_axis_above_the_lines_that_do_not_over_optimize() -> None:
    figure = draw_figure_3(_study())
    assert figure is not None
    domain = figure.blocks[0].panels[0].spec["layer"][0]["encoding"]["y"]["scale"]["domain"]
    assert domain[0] == 0 and abs(domain[1] - 2.5 * 2 * 17 / 19) < 1e-9  # the last five of 20 points to 2
    assert [cells[0] for _, cells in figure.blocks[0].legend.rows] == ["1.5", "1.79", "89.5"]  # type: ignore[union-attr]


def test_figure_5_marks_ends_by_the_pooled_label() -> None:
    figure = draw_figure_5(_study())
    assert figure is not None
    ends = figure.blocks[0].panels[0].data["figure-5-1B-ends"]
    assert dict(zip(ends["entry"], ends["mark"], strict=True)) == {
        "KL, high": "better", "MaxEnt 0.5, high": "worse", "MaxEnt 1, high": "worse", "MaxEnt 0, low": "better",
        "MaxEnt 0.5, low": "better",
    }  # fmt: skip


def test_figure_5_says_whether_crosses_are_at_the_kl_of_checks() -> None:
    similar = draw_figure_5(_study(two_kl=2.0))
    assert similar is not None
    assert similar.shows == (
        "At 1B 2 of 4 MaxEnt curves have a check (KL 1.79 nats) and 2 a cross (KL 44.7 to 89.5 nats); at 2.8B 0 of 1"
        " MaxEnt curves have a check and 1 a cross (KL 1.79 nats); the least KL of a crossed 2.8B curve is 1.79 nats,"
        " the most of a checked 1B curve 1.79: similar KL, different outcome."
    )
    apart = draw_figure_5(_study(two_kl=80.0))
    assert apart is not None and apart.shows.endswith("not at similar KL.")


def test_without_records_there_is_no_figure() -> None:
    empty = study([run("DPO-1B")])
    assert draw_figure_3(empty) is None and draw_figure_5(empty) is None
    only_kl = study([run("KL-1B", series=online())])
    figure = draw_figure_3(only_kl)
    assert figure is not None and len(figure.blocks) == 1 and "MaxEnt" not in figure.shows


def test_figure_5_says_kl_where_the_lines_end() -> None:
    runs = [run("ME-1B-1e-7", {"coef": 0.5}, seed, online(kl=kl)) for seed, kl in enumerate((0.3, 0.7))]
    figure = draw_figure_5(study(runs))
    assert figure is not None  # on the axis the mean of ln 4 and ln 8: 0.1 (sqrt(32) - 1)
    assert figure.blocks[0].legend is not None and figure.blocks[0].legend.rows[0][1][0] == "0.466"
    assert figure.shows == "At 1B 1 of 1 MaxEnt curves have a check (KL 0.466 nats) and 0 a cross."
    assert figure.blocks[0].panels[0].data["figure-5-1B-ends"]["y"][0] == 0.465685
