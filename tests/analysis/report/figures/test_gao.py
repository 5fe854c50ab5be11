"""The scaling law against distances and rewards that follow it exactly."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from fake_runs import Evaluated, online_run

from overopt.analysis.report.collect import Points, collect
from overopt.analysis.report.figures.drawing import rows_of
from overopt.analysis.report.figures.gao import Fit, draw_gao, fit


def law(d: list[float], start: float, alpha: float, beta: float) -> Points:
    x = np.array(d)
    return x, np.array([start + v * (alpha - beta * math.log(v)) if v else start for v in d])


def test_the_parameters_are_found() -> None:
    found = fit(law([0, 0.5, 1, 2, 4, 6], -1.8, 0.7, 0.3))
    assert isinstance(found, Fit)
    assert (found.start, found.alpha, found.beta, found.r2) == pytest.approx((-1.8, 0.7, 0.3, 1.0))
    assert found(2.0) == pytest.approx(-1.8 + 2 * (0.7 - 0.3 * math.log(2)))


@pytest.mark.parametrize(
    ("points", "why"),
    [
        (law([0, 1, 2, 3], 0, 1, 0), "3 points away from the start, 4 needed"),
        (law([0.5, 1, 2, 3, 4], 0, 1, 0), "the start was not evaluated"),
        (law([], 0, 1, 0), "the start was not evaluated"),
        (law([0, 2, 2, 2, 2], 0, 1, 0), "the distances are too alike"),
        ((np.array([0, 1.0, 2, 3, 4]), np.zeros(5)), "the values do not change"),
        ((np.array([0, 1.0, 2, 3, 4, 5, 6]), np.array([0, 1.0, -1, 1, -1, 1, -1])), "the form does not describe it"),
    ],
)
def test_where_it_does_not_fit_it_says_why(points: Points, why: str) -> None:
    found = fit(points)
    assert isinstance(found, str)
    assert found.startswith(why)


def test_the_figure_draws_dots_at_the_root_of_the_kl_and_the_fit_where_there_is_one(tmp_path: Path) -> None:
    d = [0, 1, 2, 3, 4]
    proxies = law([float(v) for v in d], 0.5, 1.0, 0.25)[1]
    wins = [5, 9, 1, 9, 1]
    online_run(tmp_path / "none", [
        Evaluated(10 * i, wins[i], float(proxies[i]), gold=None, kl=float(d[i] ** 2)) for i in range(5)
    ])  # fmt: skip
    drawn = draw_gao(collect([tmp_path]).groups[0])
    assert drawn is not None
    data = {name: table for panel in drawn.panels for name, table in panel.data.items()}
    assert data["gao_proxy_mean-lines"]["x"] == d
    curve = rows_of(data["gao_proxy_mean-fit"])
    assert (curve[0]["x"], curve[0]["y"], curve[-1]["x"]) == (0, 0.5, 4)
    assert curve[-1]["y"] == pytest.approx(0.5 + 4 * (1 - 0.25 * math.log(4)), abs=1e-5)
    assert "gao_win_rate-fit" not in data, "an empty layer would have no extent"
    (note,) = drawn.notes
    assert note.startswith("none: proxy α 1, β 0.25 (R² 1.00); win rate no fit, the form does not describe it (R² ")


def test_evaluations_without_a_kl_are_left_out(tmp_path: Path) -> None:
    online_run(tmp_path / "kl", [Evaluated(0, 4, kl=None), Evaluated(20, 5, kl=None)])
    assert draw_gao(collect([tmp_path]).groups[0]) is None
