from figure_studies import offline, run, study

from overopt.replication.figures.offline import draw_figure_7, draw_figure_8, draw_figure_9


def _runs(row: str, falls: dict[float, float]) -> list[object]:
    return [run(row, {"gamma": gamma}, seed, offline(fall)) for gamma, fall in falls.items() for seed in (0, 1)]


def test_figures_7_and_8_have_every_metric_by_margin() -> None:
    members = study([*_runs("SIMPO-1B-2e-7", {0.0: 0.1, 0.5: 0.2}), *_runs("SIMPO-1B-1e-6", {0.0: 1.0})])  # type: ignore[list-item]
    seven, eight = draw_figure_7(members), draw_figure_8(members)
    assert seven is not None and eight is not None
    assert len(seven.blocks[0].panels) == 12 and seven.blocks[0].per_row == 4
    assert seven.blocks[0].panels[0].data["figure-7-loss-lines"]["entry"] == ["0"] * 20 + ["0.5"] * 20
    assert seven.blocks[0].legend is not None
    assert [line.entry for line, _ in seven.blocks[0].legend.rows] == ["0", "0.5"]
    # the means of the first and the last five of 20 points lie 15/19 of the fall apart
    assert "moves by -0.08 [-0.08, -0.08] at γ = 0, -0.16 [-0.16, -0.16] at γ = 0.5 nats per token" in seven.shows
    assert "moves by -0.79 [-0.79, -0.79] at γ = 0 nats per token" in eight.shows


def test_rising_log_probabilities_are_said_to_rise() -> None:
    figure = draw_figure_8(study(_runs("SIMPO-1B-1e-6", {0.0: -0.5})))  # type: ignore[arg-type]
    assert figure is not None
    assert "moves by 0.39" in figure.shows and "it ends higher than it starts in 2 of 2 runs" in figure.shows


def test_figure_9_is_dpos() -> None:
    figure = draw_figure_9(study([run("DPO-1B", series={"loss": 0.5})]))
    assert figure is not None and [panel.title for panel in figure.blocks[0].panels] == ["loss"]
    assert figure.shows == (
        "The reward margin was not recorded; the win rate ends below SFT's in 0 of 1 runs and above it in 1."
    )
    assert draw_figure_9(study([])) is None
