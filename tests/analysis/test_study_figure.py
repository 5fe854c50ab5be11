"""The study's figure: its curves, where labels go, its specification, and that it can be drawn."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fake_study import finished_run

from overopt.analysis.study_figure import COLORS, Curve, curve_of, spread_labels, win_rate_and_proxy


def rows(last: int, *win_rate_and_proxy: tuple[float, float]) -> list[dict[str, float]]:
    steps = zip((0, last), win_rate_and_proxy, strict=True)
    return [{"step": step, "win_rate": win_rate, "proxy_mean": proxy} for step, (win_rate, proxy) in steps]


CURVES = [
    Curve("kl", "online", "GOOD", rows(80, (0.4, 0.0), (0.7, 1.0))),
    Curve("none", "online", "OVER", rows(80, (0.4, 0.0), (0.0, 3.0))),
    Curve("simpo", "offline", None, [{"step": 0, "win_rate": 0.4}, {"step": 250}]),
]


def test_a_column_per_stage_with_win_rate_above_proxy() -> None:
    spec = win_rate_and_proxy(CURVES, "A study", sft_win_rate=0.4).to_dict()
    assert len(spec["hconcat"]) == 2
    assert [len(column["vconcat"]) for column in spec["hconcat"]] == [2, 2]
    assert [column["resolve"] for column in spec["hconcat"]] == [{"scale": {"x": "shared"}}] * 2
    text = json.dumps(spec)
    assert '"text": "kl  GOOD"' in text
    assert '"text": "none  OVER"' in text
    assert '"text": "simpo"' in text, "no label, no outcome"
    assert '"title": "online (RLOO)"' in text


def test_colors_are_the_runs_own_in_both_panels() -> None:
    values = [value for data in win_rate_and_proxy(CURVES, "A study").to_dict()["datasets"].values() for value in data]
    colors = {(value["run"], value["color"]) for value in values if "run" in value}
    assert colors == {("kl", COLORS[0]), ("none", COLORS[1]), ("simpo", COLORS[2])}
    assert len(set(COLORS)) == 7


def test_runs_without_evaluations_are_left_out() -> None:
    assert len(win_rate_and_proxy([CURVES[0], Curve("empty", "offline", None, [])], "").to_dict()["hconcat"]) == 1


def test_a_curve_from_a_record(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "a", wins=32, proxy=1.0)
    curve = curve_of("kl", run, "GOOD")
    assert (curve.run, curve.stage, curve.label) == ("kl", "online", "GOOD")
    points = [(row["step"], row["win_rate"], row["proxy_mean"]) for row in curve.rows]
    assert points == [(0, 0.4, 0.0), (80, 0.8, 1.0)]


@pytest.mark.parametrize(
    ("places", "moved"),
    [
        ([0.5], [0.5]),
        ([0.2, 0.8], [0.2, 0.8]),
        ([0.5, 0.5], [0.5, 0.6]),
        ([0.52, 0.5], [0.6, 0.5]),
        ([1.0, 0.99, 0.98], [1.0, 0.9, 0.8]),
        ([0.0, 0.0, 0.05], [0.0, 0.1, 0.2]),
        ([0.5] * 21, [i / 20 for i in range(21)]),  # no room for the gap: evenly over all there is
        ([], []),
    ],
)
def test_labels_are_spread_labels(places: list[float], moved: list[float]) -> None:
    assert spread_labels(places, gap=0.1, low=0.0, high=1.0) == pytest.approx(moved)
