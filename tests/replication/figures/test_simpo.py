from figure_studies import run, study

from overopt.replication.figures.simpo import draw_figure_6


def _runs(gamma: float, last: tuple[float, float], label: str) -> list[object]:
    return [run("SIMPO-1B-2e-7", {"gamma": gamma}, s, {}, label, (0.5, 0.6, rate)) for s, rate in enumerate(last)]  # type: ignore[arg-type]


def test_figure_6_draws_win_rates_by_margin() -> None:
    figure = draw_figure_6(study([*_runs(0.0, (0.6, 0.6), "GOOD"), *_runs(0.5, (0.7, 0.9), "GOOD")]))  # type: ignore[list-item]
    assert figure is not None and figure.width == 240
    lines = figure.blocks[0].panels[0].data["figure-6-lines"]
    assert lines["entry"] == ["0"] * 3 + ["0.5"] * 3 and lines["x"] == [0, 10, 20] * 2
    assert lines["y"] == [0.5, 0.6, 0.6, 0.5, 0.6, 0.8]
    assert figure.blocks[0].legend is not None and figure.blocks[0].legend.below == "SFT 0.50, dashed gray"
    assert figure.shows == (
        "2 of 2 margins end above SFT (0.50); γ = 0 ends at 0.60 [0.60, 0.60]; the best γ > 0, 0.5, at"
        " 0.80 [0.00, 1.00]; a difference of 0.20 [-1.07, 1.47] on the same prompts, over seeds."
    )


def test_a_margin_that_does_not_help_is_said_so() -> None:
    figure = draw_figure_6(study([*_runs(0.0, (0.3, 0.3), "OVER"), *_runs(0.5, (0.1, 0.1), "OVER")]))  # type: ignore[list-item]
    assert figure is not None
    assert figure.shows == (
        "0 of 2 margins end above SFT (0.50); γ = 0 ends at 0.30 [0.30, 0.30]; the best γ > 0, 0.5, at"
        " 0.10 [0.10, 0.10]; a difference of -0.20 [-0.20, -0.20] on the same prompts, over seeds."
    )


def test_without_win_rates_there_is_no_figure() -> None:
    assert draw_figure_6(study([run("SIMPO-1B-2e-7", {"gamma": 0.0}, rates=())])) is None
